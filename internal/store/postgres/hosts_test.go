package postgres_test

import (
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// silent is a host that takes connections and says nothing, as one does whose network was cut.
func silent(t *testing.T) (address string, asked *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	asked = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			t.Cleanup(func() { c.Close() })
		}
	}()
	return l.Addr().String(), asked
}

// TestSilentHostIsPassedOver has the store look for the primary behind a host that does not answer: it is found, and further connections do not look again.
func TestSilentHostIsPassedOver(t *testing.T) {
	cfg := place(t)
	u, err := url.Parse(cfg.DSN)
	if err != nil {
		t.Fatal(err)
	}
	gone, asked := silent(t)
	cfg.DSN = strings.Replace(cfg.DSN, u.Host, gone+","+u.Host, 1)
	s := open(t, cfg)
	defer s.Close()
	put(t, s, "first")
	if head(t, s) == 0 {
		t.Error("nothing was written")
	}
	// The writer has found the primary; the follower and a reader came behind it.
	if n := asked.Load(); n != 1 {
		t.Errorf("the silent host was asked %d times, want once", n)
	}
}
