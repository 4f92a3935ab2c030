package door

import "strings"

// Bearer returns the token of the request's Authorization header (RFC 6750, section 2.1). A request with two such headers has
// none: whatever stands in front of the server may have looked at the other one.
func (r *Request) Bearer() (token string, ok bool) { return bearer(r.HTTP.Header["Authorization"]) }

func bearer(header []string) (token string, ok bool) {
	const scheme = "Bearer "
	if len(header) != 1 || len(header[0]) <= len(scheme) || !strings.EqualFold(header[0][:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimSpace(header[0][len(scheme):]), true
}
