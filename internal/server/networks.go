package server

import (
	"net"
	"net/netip"
)

// only takes connections from some networks alone: those from elsewhere are closed before anything is read from them. With no network named it takes all.
func only(l net.Listener, networks []netip.Prefix) net.Listener {
	if len(networks) == 0 {
		return l
	}
	return &networkListener{l, networks}
}

type networkListener struct {
	net.Listener
	networks []netip.Prefix
}

// Accept implements net.Listener.
func (l *networkListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.takes(c.RemoteAddr()) {
			return c, nil
		}
		c.Close()
	}
}

func (l *networkListener) takes(a net.Addr) bool {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return false
	}
	addr := ap.Addr().Unmap().WithZone("")
	for _, n := range l.networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}
