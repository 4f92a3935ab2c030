package key

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/keywright/keywright/internal/fault"
)

// ReleasePolicy says to whom a key may be released: to who brings an attestation of one of these authorities with these claims.
//
//	{"version": "1.0.0", "anyOf": [{"authority": "https://…", "allOf": [{"claim": "x-ms-…", "equals": "…"}]}]}
//
// That is the grammar of Key Vault's policies ("Azure Key Vault secure key release policy grammar"): a policy is an allOf or anyOf of authorities, an
// authority an allOf or anyOf of claims or of further such groups.
type ReleasePolicy struct {
	// ContentType is the media type that the owner gave.
	ContentType string `json:"contentType,omitempty"`
	// Data is the policy as the owner wrote it.
	Data []byte `json:"data"`
	// Immutable policies cannot be changed any more.
	Immutable bool `json:"immutable,omitempty"`
}

// ReleasePolicyType is the media type of a policy for which its owner gives none.
const ReleasePolicyType = "application/json; charset=utf-8"

const (
	maxReleasePolicyBytes = 32 << 10
	maxReleaseDepth       = 8
	maxReleaseTerms       = 256
)

func (p *ReleasePolicy) equal(other *ReleasePolicy) bool {
	return p.Immutable == other.Immutable && bytes.Equal(p.Data, other.Data)
}

// check reports whether a policy can be kept.
func (p *ReleasePolicy) check() error {
	_, err := parseReleasePolicy(p.Data)
	return err
}

// releaseRules is a parsed policy.
type releaseRules struct {
	Version string        `json:"version"`
	AllOf   []releaseTerm `json:"allOf,omitempty"`
	AnyOf   []releaseTerm `json:"anyOf,omitempty"`
}

// releaseTerm is an authority with terms, a group of terms, or a condition on one claim.
type releaseTerm struct {
	Authority string          `json:"authority,omitempty"`
	AllOf     []releaseTerm   `json:"allOf,omitempty"`
	AnyOf     []releaseTerm   `json:"anyOf,omitempty"`
	Claim     string          `json:"claim,omitempty"`
	Equals    json.RawMessage `json:"equals,omitempty"`
}

// parseReleasePolicy reads a policy. What is not understood is refused: it may have been meant as a condition.
func parseReleasePolicy(data []byte) (*releaseRules, error) {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "the release policy is not valid: "+format, args...)
	}
	if len(data) == 0 || len(data) > maxReleasePolicyBytes {
		return nil, bad("it is to have 1 to %d bytes", maxReleasePolicyBytes)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var r releaseRules
	if err := d.Decode(&r); err != nil || d.More() {
		return nil, bad("it is not one JSON object of version, anyOf and allOf, authority, claim and equals")
	}
	if r.Version != "1.0.0" && r.Version != "1.0" && r.Version != "0.2" {
		return nil, bad("its version is to be 1.0.0")
	}
	if (r.AllOf == nil) == (r.AnyOf == nil) {
		return nil, bad("it is to have either anyOf or allOf")
	}
	terms := 0
	for _, t := range append(r.AllOf, r.AnyOf...) {
		u, err := url.Parse(t.Authority)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, bad("each of its first terms is to name an authority by its https address")
		}
		if err := t.check(1, &terms); err != nil {
			return nil, bad("%w", err)
		}
	}
	if terms == 0 {
		return nil, bad("it has no condition")
	}
	return &r, nil
}

func (t *releaseTerm) check(depth int, terms *int) error {
	if *terms++; *terms > maxReleaseTerms || depth > maxReleaseDepth {
		return fmt.Errorf("it has more than %d terms, or more than %d levels", maxReleaseTerms, maxReleaseDepth)
	}
	if t.Claim != "" {
		if t.AllOf != nil || t.AnyOf != nil || t.Authority != "" || len(t.Equals) == 0 {
			return fmt.Errorf("a claim goes with equals alone")
		}
		var want any
		if json.Unmarshal(t.Equals, &want) != nil || !scalar(want) {
			return fmt.Errorf("equals is to be a string, a number, true or false")
		}
		return nil
	}
	if (t.AllOf == nil) == (t.AnyOf == nil) || len(t.Equals) > 0 || len(t.AllOf)+len(t.AnyOf) == 0 {
		return fmt.Errorf("a term without a claim is to have either anyOf or allOf, with conditions")
	}
	if depth > 1 && t.Authority != "" {
		return fmt.Errorf("authorities do not stand within each other")
	}
	for _, inner := range append(t.AllOf, t.AnyOf...) {
		if err := inner.check(depth+1, terms); err != nil {
			return err
		}
	}
	return nil
}

func scalar(v any) bool {
	switch v.(type) {
	case string, float64, bool:
		return true
	}
	return false
}

// satisfied reports whether the claims of an attestation by the issuer satisfy the policy. An attestation is of one authority: an allOf of several can
// never be satisfied.
func (r *releaseRules) satisfied(issuer string, claims map[string]any) bool {
	by := func(t *releaseTerm) bool { return sameAuthority(t.Authority, issuer) && t.holds(claims) }
	if r.AnyOf != nil {
		return some(r.AnyOf, by)
	}
	return all(r.AllOf, by)
}

// authorities lists the addresses that the policy trusts.
func (r *releaseRules) authorities() (list []string) {
	for _, t := range append(r.AllOf, r.AnyOf...) {
		list = append(list, t.Authority)
	}
	return list
}

func sameAuthority(a, b string) bool {
	return strings.TrimRight(a, "/") == strings.TrimRight(b, "/")
}

func (t *releaseTerm) holds(claims map[string]any) bool {
	inner := func(t *releaseTerm) bool { return t.holds(claims) }
	switch {
	case t.Claim != "":
		var want any
		if json.Unmarshal(t.Equals, &want) != nil {
			return false
		}
		have, ok := claimOf(claims, t.Claim)
		return ok && scalar(have) && have == want
	case t.AnyOf != nil:
		return some(t.AnyOf, inner)
	default:
		return all(t.AllOf, inner)
	}
}

// claimOf finds a claim by its name, or by a path of names with dots between them.
func claimOf(claims map[string]any, name string) (any, bool) {
	if v, ok := claims[name]; ok {
		return v, true
	}
	for i := range name {
		if name[i] != '.' {
			continue
		}
		if inner, ok := claims[name[:i]].(map[string]any); ok {
			if v, ok := claimOf(inner, name[i+1:]); ok {
				return v, true
			}
		}
	}
	return nil, false
}

func some(list []releaseTerm, f func(*releaseTerm) bool) bool {
	for i := range list {
		if f(&list[i]) {
			return true
		}
	}
	return false
}

func all(list []releaseTerm, f func(*releaseTerm) bool) bool {
	return len(list) > 0 && !some(list, func(t *releaseTerm) bool { return !f(t) })
}
