package postgres_test

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/internal/store/postgres"
)

// TestUnansweredConnectionsEnd sees that the kernel is told when to give a connection up.
func TestUnansweredConnectionsEnd(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := postgres.GiveUpOn(c); err != nil {
		t.Fatal(err)
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	if err := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); err != nil {
		t.Fatal(err)
	}
	if err != nil || got != int(postgres.PeerTimeout.Milliseconds()) {
		t.Errorf("the connection is given up after %d ms, want %s (%v)", got, postgres.PeerTimeout, err)
	}
}
