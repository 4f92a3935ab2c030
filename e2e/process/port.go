package process

import (
	"fmt"
	"net"
)

// FreePort returns a TCP port of 127.0.0.1 that nobody listened on a moment ago. Another program may take it before
// the caller does; whoever starts a server on it tries again with another port.
func FreePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
