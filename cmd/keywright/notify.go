package main

import (
	"net"
	"strings"
)

// notifier returns how systemd is told of the state of the service (sd_notify(3)); it tells nobody when nobody listens. The variable is the address of a datagram
// socket: a path, or a name in the abstract namespace that begins with an at sign.
func notifier(getenv func(string) string) func(state string) error {
	address := getenv("NOTIFY_SOCKET")
	if !strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "@") {
		return func(string) error { return nil }
	}
	return func(state string) error {
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte(state))
		return err
	}
}
