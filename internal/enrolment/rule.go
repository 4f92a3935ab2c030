package enrolment

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// Anyone is the name of the rule for accounts without a binding. An issuer has it only where an administrator made it.
const Anyone = "anyone"

// Rule says what an account may have certificates for.
type Rule struct {
	// ID is that of the rule's object: a rule that is withdrawn and made anew is another one, and accounts of the first are none of its own.
	ID   vault.ObjectID `json:"-"`
	Name string         `json:"-"`
	Terms
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// Terms are what an administrator says of a rule.
type Terms struct {
	// Names are those that may be had as they stand: host names, addresses, and wildcards such as *.shop.example, which stands for the certificate of that name and
	// not for the names that the certificate is good for.
	Names []string `json:"names,omitempty"`
	// Domains stand for themselves and every name below them; Wildcards says that those include wildcards.
	Domains   []string `json:"domains,omitempty"`
	Wildcards bool     `json:"wildcards,omitempty"`
	// Networks hold the addresses that may be had.
	Networks []netip.Prefix `json:"networks,omitempty"`
	// Profiles are the kinds of certificates that may be ordered, the first of them when an order names none.
	Profiles []string `json:"profiles"`
	// MaxDays is the longest life of a certificate; 0 leaves it to the issuer.
	MaxDays int `json:"maxDays,omitempty"`
	// Preauthorized takes the holder's word for the names: no challenge is asked.
	Preauthorized bool `json:"preauthorized,omitempty"`
	// Expires is when the rule ends; zero for never. Certificates that were issued under it go on.
	Expires time.Time `json:"expires,omitzero"`
}

// The bounds of a rule.
const (
	maxEntries = 1000
	mostDays   = 3650
)

// leafProfiles are the kinds of certificates that clients may have. Authorities, responders and signers of code are not for machines that ask by themselves.
var leafProfiles = []string{"server", "client", "mutual"}

// Profiles are the kinds of certificates that clients may order, with a sentence about each.
func Profiles() map[string]string {
	return map[string]string{"server": "for servers", "client": "for clients", "mutual": "for programs that are both server and client"}
}

// complete brings names into one form and fills in what was left out.
func (t *Terms) complete() {
	lower := func(list []string) (out []string) {
		for _, name := range list {
			name = strings.ToLower(strings.TrimSpace(name))
			if a, err := netip.ParseAddr(name); err == nil && a.Zone() == "" {
				name = a.Unmap().String()
			}
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
		return out
	}
	t.Names, t.Domains = lower(t.Names), lower(t.Domains)
	for i, p := range t.Networks {
		t.Networks[i] = p.Masked()
	}
	if len(t.Profiles) == 0 {
		t.Profiles = leafProfiles[:1]
	}
	t.Expires = t.Expires.UTC().Truncate(time.Second)
}

// check refuses terms under which nothing, or too much, could be had.
func (t *Terms) check(name string, now time.Time) error {
	for _, n := range t.Names {
		if _, err := netip.ParseAddr(n); err != nil && !HostName(strings.TrimPrefix(n, "*.")) {
			return fault.New(fault.Invalid, "the access rule names %q, which is no host name, address or wildcard such as *.shop.example", fault.Clip(n))
		}
	}
	for _, d := range t.Domains {
		if _, err := netip.ParseAddr(d); err == nil || !HostName(d) {
			return fault.New(fault.Invalid, "the access rule has the domain %q, which is none: write it as shop.example, which stands for itself and all below it", fault.Clip(d))
		}
	}
	for _, p := range t.Profiles {
		if !slices.Contains(leafProfiles, p) {
			return fault.New(fault.Invalid, "the access rule has the profile %q, which clients cannot have: use one of %s", fault.Clip(p), strings.Join(leafProfiles, ", "))
		}
	}
	switch n := len(t.Names) + len(t.Domains) + len(t.Networks); {
	case n == 0:
		return fault.New(fault.Invalid, "the access rule names nothing: give the names, the domains or the networks that may be had")
	case n > maxEntries:
		return fault.New(fault.Invalid, "the access rule has %d names, domains and networks: %d are the most", n, maxEntries)
	case t.MaxDays < 0 || t.MaxDays > mostDays:
		return fault.New(fault.Invalid, "the longest life of a certificate is a number of days from 1 to %d, or 0 to leave it to the issuer", mostDays)
	case !t.Expires.IsZero() && !t.Expires.After(now):
		return fault.New(fault.Invalid, "the access rule ends at %s, which has passed", t.Expires.Format(time.RFC3339))
	case t.Preauthorized && name == Anyone:
		return fault.New(fault.Invalid, "nobody can be believed who proves nothing: the rule %q cannot be preauthorised", Anyone)
	case t.Wildcards && len(t.Domains) == 0:
		return fault.New(fault.Invalid, "the access rule permits wildcards of its domains, and has none")
	}
	return nil
}

// HostName reports whether a name can stand in a certificate, in lower case.
func HostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// Permits reports whether the terms have room for a name, which is in its one form: lower case, or the canonical text of an address.
func (t *Terms) Permits(i Identifier) bool {
	if slices.Contains(t.Names, i.Value) {
		return true
	}
	if i.Type == IP {
		a, err := netip.ParseAddr(i.Value)
		return err == nil && slices.ContainsFunc(t.Networks, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	name, wildcard := strings.CutPrefix(i.Value, "*.")
	if wildcard && !t.Wildcards {
		return false
	}
	return slices.ContainsFunc(t.Domains, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
}

// permit decides about an order.
func (r *Rule) permit(identifiers []Identifier, profile string, now time.Time) (Permission, error) {
	if !r.Expires.IsZero() && !now.Before(r.Expires) {
		return Permission{}, fault.New(fault.Forbidden, "The access rule %s ended at %s: ask whoever runs the issuer for another one.", r.Name, r.Expires.Format(time.RFC3339)).Because(RuleEnded)
	}
	for _, i := range identifiers {
		if !r.Permits(i) {
			return Permission{}, fault.New(fault.Forbidden, "The access rule %s does not permit %s.", r.Name, fault.Clip(i.Value)).Because(NotPermitted)
		}
	}
	if profile == "" {
		profile = r.Profiles[0]
	}
	if !slices.Contains(r.Profiles, profile) {
		return Permission{}, fault.New(fault.Forbidden, "The access rule %s does not permit the profile %s.", r.Name, fault.Clip(profile)).Because(NotPermitted)
	}
	return Permission{Rule: r.Name, Trusted: r.Preauthorized, Profile: profile, Life: time.Duration(r.MaxDays) * 24 * time.Hour}, nil
}

// Why a client is refused.
const (
	// NotPermitted: the access rule has no room for the name or the profile.
	NotPermitted fault.Reason = "AccessRuleRefuses"
	// RuleEnded: it has ended, or was withdrawn.
	RuleEnded fault.Reason = "AccessRuleEnded"
	// WrongBinding: the key id is unknown, or the MAC is another key's.
	WrongBinding fault.Reason = "WrongBinding"
)
