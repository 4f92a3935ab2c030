package postgres

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// giveUpOn has the kernel end a connection whose other side has not acknowledged for so long what was sent (tcp(7), TCP_USER_TIMEOUT). Without it a
// connection to a host that was cut off is waited for until its statements time out, and one of which only the cable was out goes on seconds after that is back.
func giveUpOn(c net.Conn, after time.Duration) error {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil // a socket of this machine
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
	})
	return errors.Join(err, failed)
}
