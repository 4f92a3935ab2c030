package oneport_test

import (
	"bufio"
	"io"
	"net"
	"testing"

	"github.com/keywright/keywright/e2e/oneport"
)

// speaker answers every connection with its name, and with the line that it got.
func speaker(t *testing.T, name string, first bool) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if first {
					_, _ = io.WriteString(conn, name+"\n") // a client that is gone sees nothing
				}
				line, _ := bufio.NewReader(conn).ReadString('\n')
				_, _ = io.WriteString(conn, name+" "+line)
			}()
		}
	}()
	return listener.Addr().String()
}

func TestFirstWordDecides(t *testing.T) {
	address := oneport.Start(t, "GET ", speaker(t, "web", false), speaker(t, "broker", true))
	for say, want := range map[string]string{"GET /\n": "web GET /\n", "CONNECT\n": "broker\n", "": "broker\n"} {
		conn, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, say); err != nil {
			t.Fatal(err)
		}
		got, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", say, got, err, want)
		}
		conn.Close()
	}
}
