package rotatortest_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// echo is a server that answers each line with the line, and counts lines.
func echo(t *testing.T) (address string, lines *atomic.Int64) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	lines = &atomic.Int64{}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for scanner := bufio.NewScanner(conn); scanner.Scan(); {
					lines.Add(1)
					fmt.Fprintln(conn, scanner.Text())
				}
			}()
		}
	}()
	return l.Addr().String(), lines
}

// say sends a line and returns the answer.
func say(t *testing.T, conn net.Conn, line string) (string, error) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}

func TestProxy(t *testing.T) {
	upstream, lines := echo(t)
	for _, c := range []struct {
		kind rotatortest.Kind
		// arrives is how many of the two lines reach the server before, and after the fault was taken back.
		arrives, after int64
	}{
		{rotatortest.LoseReply, 2, 2},
		{rotatortest.CutRequest, 1, 1},
		{rotatortest.HoldRequest, 1, 2},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			p := rotatortest.StartProxy(t, upstream)
			lines.Store(0)
			fault := p.Fail(c.kind, 2)
			conn, err := net.Dial("tcp4", p.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if answer, err := say(t, conn, "one"); err != nil || answer != "one\n" || fault.WasHit() {
				t.Fatalf("the first line: %q, %v, hit %v", answer, err, fault.WasHit())
			}
			if answer, err := say(t, conn, "two"); err == nil || !fault.WasHit() {
				t.Errorf("the second line: %q, %v, hit %v", answer, err, fault.WasHit())
			}
			if n := lines.Load(); n != c.arrives {
				t.Errorf("%d lines arrived, want %d", n, c.arrives)
			}
			conn.Close()
			p.Heal()
			for deadline := time.Now().Add(time.Minute); lines.Load() != c.after || p.Open() != 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d lines arrived in the end, want %d; %d connections are open", lines.Load(), c.after, p.Open())
				}
			}
		})
	}
}

func TestProxyDownRefuses(t *testing.T) {
	upstream, _ := echo(t)
	p := rotatortest.StartProxy(t, upstream)
	conn, err := net.Dial("tcp4", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 3 {
		p.Down()
		if _, err := net.Dial("tcp4", p.Address()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("down: %v, want a refused connection", err)
		}
		if err := p.Up(); err != nil {
			t.Fatal(err)
		}
		again, err := net.Dial("tcp4", p.Address())
		if err != nil {
			t.Fatalf("up again: %v", err)
		}
		if answer, err := say(t, again, "hello"); err != nil || answer != "hello\n" {
			t.Errorf("up again: %q, %v", answer, err)
		}
		again.Close()
	}
	if _, err := say(t, conn, "still there?"); err == nil {
		t.Error("a connection outlived its proxy's going down")
	}
}
