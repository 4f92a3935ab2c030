package door

import (
	"net/http"
	"net/netip"
)

// ConnectionAddress returns the address at the other end of the connection. An address of IPv4 within IPv6 is given as
// IPv4, so that one rule matches both.
func ConnectionAddress(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
