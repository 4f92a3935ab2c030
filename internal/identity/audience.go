package identity

import (
	"net/url"
	"strings"

	"github.com/keywright/keywright/internal/fault"
)

// The audiences of Key Vault in the public cloud, which clients ask for that never look at a challenge: its resource and
// its application id.
const (
	PublicVaultResource = "https://vault.azure.net"
	PublicVaultAppID    = "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"
)

// AudienceSet is a fixed set of audiences, compared without regard to case.
type AudienceSet struct {
	exact map[string]struct{}
}

// NewAudiences returns the set of the resources, each with and without a trailing slash and with and without its port:
// clients do not agree on either.
func NewAudiences(resources ...string) *AudienceSet {
	a := &AudienceSet{exact: map[string]struct{}{}}
	for _, r := range resources {
		r = strings.TrimRight(r, "/")
		a.add(r)
		u, err := url.Parse(r)
		if err != nil || u.Host == "" {
			continue
		}
		if port := u.Port(); port != "" {
			u.Host = strings.TrimSuffix(u.Host, ":"+port)
		} else {
			u.Host += ":443"
		}
		a.add(u.String())
	}
	return a
}

// VaultAudiences returns the set for a vault whose challenge names the resource.
func VaultAudiences(resource string) *AudienceSet {
	return NewAudiences(resource, PublicVaultResource, PublicVaultAppID)
}

func (a *AudienceSet) add(s string) {
	a.exact[s] = struct{}{}
	a.exact[s+"/"] = struct{}{}
}

// Accepts reports whether the audience is in the set.
func (a *AudienceSet) Accepts(audience string) bool {
	if _, ok := a.exact[audience]; ok {
		return true
	}
	for s := range a.exact {
		if strings.EqualFold(s, audience) {
			return true
		}
	}
	return false
}

// checkResource reports whether a token may be asked for the resource: an absolute URL or a client id. Which of them a
// token is good for is decided by the door that receives it.
func checkResource(r string) error {
	if r == "" {
		return invalid(UnknownResource, "The request names no resource; give scope=RESOURCE/.default.")
	}
	ok := len(r) <= 512 && strings.IndexFunc(r, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '\\' }) < 0
	if ok && strings.Contains(r, "://") {
		u, err := url.Parse(r)
		ok = err == nil && u.Host != "" && u.User == nil
	}
	if !ok {
		return invalid(UnknownResource, "The resource %q is not a resource: expected a URL or a client id.", fault.Clip(r))
	}
	return nil
}
