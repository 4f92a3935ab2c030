package oauth

import (
	"encoding/base64"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/identity"
)

func number(n int64) string { return strconv.FormatInt(n, 10) }

// epoch writes an instant as seconds since 1970. No client is given a date in words: some cannot read one.
func epoch(t time.Time) string { return number(t.Unix()) }

// clientInfo names the account for the libraries' caches: base64url of its object and tenant ids, which need no escaping.
func clientInfo(t *identity.Token) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`{"uid":"` + string(t.Principal) + `","utid":"` + string(t.Tenant) + `"}`))
}
