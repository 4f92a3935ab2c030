package server

import (
	"bufio"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// readEvent returns the next event of a stream in one line; empty at its end.
func readEvent(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var lines []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return ""
		}
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		} else if len(lines) > 0 {
			return strings.Join(lines, " ")
		}
	}
}

func (x *target) stream(t *testing.T, query string) *bufio.Reader {
	t.Helper()
	at := x.fronts()["native"]
	req, err := http.NewRequestWithContext(t.Context(), "GET", at.base+"/api/v1/vaults/"+devVault+"/changes?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+x.token(t, at.resource))
	resp, err := (&http.Client{Transport: x.client.Transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the stream is answered %s", resp.Status)
	}
	return bufio.NewReader(resp.Body)
}

// TestStreamsEndWithTheServer has streams open that would last for an hour.
func TestStreamsEndWithTheServer(t *testing.T) {
	x := startTargetIn(t, filepath.Join(t.TempDir(), "d"), func(c *DevConfig) { c.Drain = longDrain })
	var streams []*bufio.Reader
	for range 20 {
		s := x.stream(t, "")
		if e := readEvent(t, s); !strings.Contains(e, "event: ready") {
			t.Fatalf("the stream begins with %q", e)
		}
		streams = append(streams, s)
	}
	if n := x.core.feed.Stats().Open; n != 20 {
		t.Errorf("%d streams are counted as open", n)
	}
	canary := "canary-of-the-stream"
	if r := x.send("PUT", x.namedVault(devVault)+"/secrets/Told?api-version=7.6", x.token(t, x.vaultResource()), `{"value":"`+canary+`"}`); r.status != 200 {
		t.Fatal(r)
	}
	for _, s := range streams {
		if e := readEvent(t, s); !strings.Contains(e, `event: change data: {"vault":"`+devVault+`","name":"Told","kind":"secret","version":"`) || strings.Contains(e, canary) {
			t.Fatalf("the stream tells %q", e)
		}
	}
	began := time.Now()
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took >= longDrain/2 {
		t.Errorf("the end took %s: streams were waited for", took)
	}
	for _, s := range streams {
		if e := readEvent(t, s); !strings.Contains(e, `event: end data: {"reason":"shutdown"}`) {
			t.Fatalf("the stream ends with %q", e)
		}
		if e := readEvent(t, s); e != "" {
			t.Fatalf("behind its end the stream has %q", e)
		}
	}
}

// TestAStreamIsAlsoAPoll reads what has happened and ends.
func TestAStreamIsAlsoAPoll(t *testing.T) {
	x := startTarget(t)
	s := x.stream(t, "wait=0")
	id, _, _ := strings.Cut(strings.TrimPrefix(readEvent(t, s), "id: "), " ")
	if e := readEvent(t, s); !strings.Contains(e, `"reason":"over"`) {
		t.Fatalf("the stream ends with %q", e)
	}
	if r := x.send("PUT", x.namedVault(devVault)+"/secrets/told?api-version=7.6", x.token(t, x.vaultResource()), `{"value":"v"}`); r.status != 200 {
		t.Fatal(r)
	}
	for query, want := range map[string][]string{"wait=0&after=" + id: {"ready", "change", "end"}, "wait=0&after=" + id + "&names=other": {"ready", "end"},
		"wait=0&after=1-x": {"reset", "end"}} {
		s = x.stream(t, query)
		for _, kind := range want {
			e := readEvent(t, s)
			if strings.HasPrefix(e, "id: ") && !strings.Contains(e, "event: ") {
				e = readEvent(t, s) // a mark
			}
			if !strings.Contains(e, "event: "+kind) {
				t.Errorf("%s: the stream tells %q, want %s", query, e, kind)
			}
		}
	}
	at := x.fronts()["native"]
	for _, query := range []string{"wait=-1", "wait=x", "names=a%2Fb"} {
		if r := x.send("GET", at.base+"/api/v1/vaults/"+devVault+"/changes?"+query, x.token(t, at.resource), ""); r.status != 400 {
			t.Errorf("%s: %d %s", query, r.status, r.body)
		}
	}
}
