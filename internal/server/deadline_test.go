package server

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// accepted returns a connection as the server gets it, and its other end.
func accepted(t *testing.T) (*limitedConn, net.Conn) {
	t.Helper()
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := new(connections).limit(inner, 1)
	other, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		other.Close()
		l.Close()
	})
	return c.(*limitedConn), other
}

// counted counts how often the connection is told a deadline.
func counted(d *deadline) *int {
	n, tell := new(int), d.tell
	d.tell = func(t time.Time) error {
		*n++
		return tell(t)
	}
	return n
}

func within(d time.Duration) time.Time { return time.Now().Add(d) }

// readFor reads, and fails unless the deadline ends it not before and soon after.
func readFor(t *testing.T, c net.Conn, d time.Duration) {
	t.Helper()
	began := time.Now()
	n, err := c.Read(make([]byte, 1))
	if took := time.Since(began); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || took < d || took > d+10*time.Second {
		t.Errorf("a read gave %d bytes and %v after %s, want the end of its deadline after %s", n, err, took, d)
	}
}

func TestADeadlineEndsWhatWaits(t *testing.T) {
	c, _ := accepted(t)
	const soon = 50 * time.Millisecond
	for name, set := range map[string]func(time.Time) error{"all": c.SetDeadline, "reads": c.SetReadDeadline} {
		t.Run(name, func(t *testing.T) {
			set(within(soon))
			readFor(t, c, soon/2)
			set(within(soon)) // later than the one before, and wanted all the same
			readFor(t, c, soon/2)
			set(within(time.Hour))
			set(within(soon)) // earlier
			readFor(t, c, soon/2)
			set(time.Unix(1, 0)) // what has passed already
			readFor(t, c, 0)
			set(within(4 * soon)) // behind it, far enough to be waited for
			readFor(t, c, 2*soon)
		})
	}
}

// A deadline that was moved away does not end what waits.
func TestADeadlineIsMovedAway(t *testing.T) {
	c, other := accepted(t)
	for name, to := range map[string]time.Time{"to a later one": within(time.Hour), "to none": {}} {
		t.Run(name, func(t *testing.T) {
			c.SetReadDeadline(within(20 * time.Millisecond))
			c.SetReadDeadline(to)
			go func() {
				time.Sleep(100 * time.Millisecond)
				other.Write([]byte("x"))
			}()
			if n, err := c.Read(make([]byte, 2)); n != 1 || err != nil {
				t.Errorf("a read whose deadline was moved away gave %d bytes and %v", n, err)
			}
		})
	}
}

// A write that does not end goes on behind a deadline that was moved away, without losing or repeating a byte.
func TestAWriteOutlivesADeadlineThatWasMoved(t *testing.T) {
	c, other := accepted(t)
	c.SetWriteDeadline(within(20 * time.Millisecond))
	c.SetWriteDeadline(within(time.Hour))
	sent := make([]byte, 16<<20) // more than the sockets hold
	for i := range sent {
		sent[i] = byte(i % 251)
	}
	done := make(chan error, 1)
	go func() {
		n, err := c.Write(sent)
		if err == nil && n != len(sent) {
			err = io.ErrShortWrite
		}
		done <- errors.Join(err, c.Close())
	}()
	time.Sleep(100 * time.Millisecond)
	got, err := io.ReadAll(other)
	if err != nil || string(got) != string(sent) {
		t.Errorf("%d bytes of %d arrived, or others: %v", len(got), len(sent), err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A request as net/http serves it tells the connection twice: that who waits for the client's end shall stop, and when to give up next.
func TestARequestTellsTheConnectionTwice(t *testing.T) {
	c, other := accepted(t)
	reads, writes := counted(&c.reading), counted(&c.writing)
	for range 10 {
		if _, err := other.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(within(2 * time.Minute)) // for the next request
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Time{})
		c.SetReadDeadline(within(10 * time.Second)) // for its header
		c.SetReadDeadline(within(time.Minute))      // for its body
		c.SetWriteDeadline(within(2 * time.Minute))
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("what watched the client ended with %v", err)
			}
		}()
		c.SetReadDeadline(time.Unix(1, 0))
		<-stopped
		c.SetReadDeadline(time.Time{})
	}
	if *reads > 22 || *writes != 1 {
		t.Errorf("10 requests told the connection %d and %d deadlines, want 20 and 1", *reads, *writes)
	}
}
