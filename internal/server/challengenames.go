package server

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer/acme"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// ChallengeName lets the ACME issuers of somebody prove a name at this server's own listeners. Those are shared by all tenants, and what is handed on to them by a proxy is a
// whole machine's: without it, whoever may set up issuers in any vault could have certificates for every such name.
type ChallengeName struct {
	// Who is a tenant's id, the name of a vault, or that with a slash and the name of one of its issuers.
	Who string
	// Name is a host; with a dot in front also every name below it. Network is in its place for addresses.
	Name    string
	Network netip.Prefix
}

// ParseChallengeName reads WHO=NAME.
func ParseChallengeName(text string) (n ChallengeName, err error) {
	who, name, ok := strings.Cut(text, "=")
	who, name = strings.ToLower(strings.TrimSpace(who)), strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
	bad := func(why string) (ChallengeName, error) {
		return ChallengeName{}, fault.New(fault.Invalid, "%q does not say whose a name is: %s. Write TENANT=.example.com, VAULT=www.example.com, VAULT/ISSUER=10.0.0.0/8", fault.Clip(text), why)
	}
	if !ok || who == "" || name == "" {
		return bad("one of the two is missing")
	}
	vaultName, issuerName, one := strings.Cut(who, "/")
	if _, err := vault.ParseGUID(who); err != nil && (vault.CheckName(vaultName) != nil || one && vault.CheckObjectName(issuerName) != nil) {
		return bad("it is given to no tenant, vault or issuer")
	}
	n = ChallengeName{Who: who, Name: name}
	if p, err := netip.ParsePrefix(name); err == nil {
		return ChallengeName{Who: who, Network: p.Masked()}, nil
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return ChallengeName{Who: who, Network: netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())}, nil
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(name, "."), ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return bad("the name is none of DNS; write those in other scripts in their ASCII form")
		}
	}
	return n, nil
}

// covers reports whether the name is one that is meant.
func (n *ChallengeName) covers(name string) bool {
	if a, err := netip.ParseAddr(name); err == nil {
		return n.Network.IsValid() && n.Network.Contains(a.Unmap())
	}
	if below, ok := strings.CutPrefix(n.Name, "."); ok {
		return name == below || strings.HasSuffix(name, n.Name)
	}
	return n.Name != "" && name == n.Name
}

// is reports whether the name was given to the issuer.
func (n *ChallengeName) is(v *vault.Vault, issuer string) bool {
	at := strings.ToLower(v.Name)
	return slices.Contains([]string{strings.ToLower(string(v.Tenant)), at, at + "/" + vault.NameKey(issuer)}, n.Who)
}

// provable decides which names the issuers of a vault may prove at the listeners that all share: those that the operator gave them, and those of vaults of the same tenant, each of
// which is the tenant's own host. Everything else is refused, whatever is not understood included.
func (i *issuers) provable(ctx context.Context, v *vault.Vault, issuer, name string) error {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if slices.ContainsFunc(i.names, func(n ChallengeName) bool { return n.is(v, issuer) && n.covers(name) }) {
		return nil
	}
	own, err := i.ownHost(ctx, v.Tenant, name)
	if err != nil || own {
		return err
	}
	return fault.New(fault.Forbidden, "the name %q cannot be proved at the listeners of this server, which all tenants share: whoever operates it has to give it to the vault %q (--challenge-name %s=%s), "+
		"or use dns-01, whose credentials are the issuer's own", fault.Clip(name), v.Name, v.Name, fault.Clip(name)).Because("NameNotProvable")
}

// ownHost reports whether a name is the host of a live vault of the tenant, or below it.
func (i *issuers) ownHost(ctx context.Context, t vault.TenantID, name string) (own bool, err error) {
	suffix := i.suffix.Load()
	if suffix == nil || *suffix == "" {
		return false, nil
	}
	host, ok := strings.CutSuffix(name, "."+*suffix)
	label := host[strings.LastIndex(host, ".")+1:]
	if !ok || vault.CheckName(label) != nil {
		return false, nil
	}
	err = i.store.View(ctx, func(tx store.Tx) error {
		v, err := tx.VaultByName(ctx, label)
		own = err == nil && v.Tenant == t && v.Deleted == nil
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		return err
	})
	return own && err == nil, err
}

// sharedSolver is a solver that all tenants share, as one issuer may use it.
type sharedSolver struct {
	acme.Solver
	may func(ctx context.Context, name string) error
}

// Solves implements acme.Chooser.
func (s sharedSolver) Solves(ctx context.Context, name string) error { return s.may(ctx, name) }

// Present implements acme.Solver. Nothing is presented that was not asked about, whoever chose.
func (s sharedSolver) Present(ctx context.Context, c acme.Challenge) error {
	if err := s.may(ctx, c.Name); err != nil {
		return err
	}
	return s.Solver.Present(ctx, c)
}
