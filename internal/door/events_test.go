package door

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// streaming starts a server with bounds that every request of a real one has, only shorter, whose one route answers with a stream.
func streaming(t *testing.T, serve func(*Request) error) (*httptest.Server, *time.Duration) {
	t.Helper()
	var took time.Duration
	d := newDoor(t, Route{Method: "GET", Pattern: "/events", Operation: "Events", Serve: serve}).Door
	d.Prepare = func(*Request) error { return nil }
	d.Observe = func(_ string, _ *Request, _ int, d time.Duration) { took = d }
	s := httptest.NewUnstartedServer(d)
	s.Config.ReadTimeout, s.Config.WriteTimeout = time.Second, time.Second
	s.Start()
	t.Cleanup(s.Close)
	return s, &took
}

func TestAStreamOutlivesTheBoundsOfAnswers(t *testing.T) {
	ended := make(chan error, 1)
	var flushed time.Time // for the first time
	s, took := streaming(t, func(r *Request) error {
		e := r.Events(time.Now())
		for n := range 4 {
			if n > 0 {
				time.Sleep(500 * time.Millisecond)
			}
			e.Event("7", "change", []byte(`{"a":1}`))
			e.Comment("quiet")
			e.Mark("8")
			e.Mark("no\nline")
			e.End()
			if err := e.Flush(); err != nil {
				ended <- err
				return nil
			}
			if n == 0 {
				flushed = time.Now()
			}
		}
		ended <- r.HTTP.Context().Err()
		return nil
	})
	asked := time.Now()
	resp, err := http.Get(s.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	one := "id: 7\nevent: change\ndata: {\"a\":1}\n\n: quiet\n\nid: 8\n\n"
	if err != nil || string(body) != strings.Repeat(one, 4) || resp.Header.Get("Content-Type") != EventStream {
		t.Errorf("the stream is %q, %v, of type %q", body, err, resp.Header.Get("Content-Type"))
	}
	if err := <-ended; err != nil {
		t.Errorf("the stream was ended: %v", err)
	}
	s.Close()
	if *took > flushed.Sub(asked) {
		t.Errorf("the request counts as one of %s, which is the stream's whole life", *took)
	}
}

// TestWhoDoesNotReadIsCutOff fills what the kernel keeps of a connection.
func TestWhoDoesNotReadIsCutOff(t *testing.T) {
	ended := make(chan error, 1)
	s, _ := streaming(t, func(r *Request) error {
		e := r.Events(time.Now())
		e.timeout = 200 * time.Millisecond
		for {
			e.Event("", "change", []byte(strings.Repeat("x", 1<<16)))
			if err := e.Flush(); err != nil {
				ended <- err
				return nil
			}
		}
	})
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("the stream waits for a client that does not read")
	}
}
