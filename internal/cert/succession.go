package cert

import (
	"context"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Succession is the change of authorities as the rotation engine makes it. Its moves take the engine's own transaction, so that a step of a run, who signs, who is trusted,
// the audit record and the events are one commit. They authorise nothing and record nothing: the engine does, and no door has a Succession.
type Succession struct {
	s   *Service
	v   *vault.Vault
	run string
}

// Succession returns the moves of one run in a vault.
func (s *Service) Succession(v *vault.Vault, run string) *Succession { return &Succession{s, v, run} }

// Publish notes the secret that keeps the trust bundle of an authority.
func (c *Succession) Publish(ctx context.Context, tx store.Tx, name, bundle string) error {
	return c.edit(ctx, tx, name, func(o *vault.Object, st *state, l *lineage) error {
		l.Bundle, l.Trusted = bundle, st.trusted(o)
		return nil
	})
}

// Claim takes an authority for the run: from here on nobody else makes a version of it, and the one that signs now goes on signing, whichever becomes current. One that another
// run has, or of which an operation is in progress, is a fault.Conflict. It may be done again.
func (c *Succession) Claim(ctx context.Context, tx store.Tx, name string, issues vault.VersionID) error {
	return c.edit(ctx, tx, name, func(o *vault.Object, st *state, l *lineage) error {
		switch {
		case l.Run == c.run:
			return nil
		case l.Run != "":
			return fault.New(fault.Conflict, "the authority %q is changed by the run %s", o.Name, l.Run).Because(UnderChange)
		case st.running():
			return inProgress(o.Name)
		case st.issues(o) != issues:
			return fault.New(fault.Conflict, "the authority %q got the version %s while its change was planned: it is planned anew", o.Name, st.issues(o))
		}
		l.Trusted, l.Run, l.Issues = st.trusted(o), c.run, issues
		return nil
	})
}

// Trust takes a version into what is trusted, or takes it out.
func (c *Succession) Trust(ctx context.Context, tx store.Tx, name string, id vault.VersionID) error {
	return c.edit(ctx, tx, name, func(o *vault.Object, st *state, l *lineage) error {
		if l.Run != c.run {
			return lostClaim(o.Name)
		}
		if !slices.Contains(l.Trusted, id) {
			l.Trusted = append(l.Trusted, id)
		}
		return nil
	})
}

// Issue lets a version of a claimed authority sign from here on.
func (c *Succession) Issue(ctx context.Context, tx store.Tx, name string, id vault.VersionID) error {
	return c.edit(ctx, tx, name, func(o *vault.Object, st *state, l *lineage) error {
		if l.Run != c.run {
			return lostClaim(o.Name)
		}
		l.Issues = id
		return nil
	})
}

func lostClaim(name string) error {
	return fault.New(fault.Conflict, "the authority %q does not belong to this run any more", name).Because(UnderChange)
}

// Settle ends the claim: the version to keep is the only one that is trusted, current, and signs. The others are retired: disabled, and still there to say what
// they have revoked. With an empty one the claim alone ends, and what was trusted stays so.
func (c *Succession) Settle(ctx context.Context, tx store.Tx, name string, keep vault.VersionID, at time.Time) error {
	return c.edit(ctx, tx, name, func(o *vault.Object, st *state, l *lineage) error {
		if l.Run != c.run {
			return nil // it was settled before
		}
		l.Run = ""
		if keep == "" {
			return nil
		}
		gone := l.Trusted
		l.Trusted, l.Issues = []vault.VersionID{keep}, ""
		for _, side := range []object.Moves{c.s.own, c.s.keys.Moves, c.s.secrets} {
			if err := side.Recall(ctx, tx, c.v, name, keep); err != nil {
				return err
			}
			for _, id := range gone {
				if id == keep {
					continue
				}
				err := side.Change(ctx, tx, c.v, name, id, func(ver *vault.Version) {
					ver.State, ver.Attributes.Enabled, ver.Attributes.Updated = vault.Retired, false, at
				})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// edit changes the lineage of an authority. One without anything worth remembering has none.
func (c *Succession) edit(ctx context.Context, tx store.Tx, name string, edit func(*vault.Object, *state, *lineage) error) error {
	o, st, err := c.s.authorityOf(ctx, tx, c.v, name)
	if err != nil {
		return err
	}
	next := *st
	l := lineage{}
	if st.Lineage != nil {
		l = *st.Lineage
		l.Trusted = slices.Clone(l.Trusted)
	}
	if err := edit(o, st, &l); err != nil {
		return err
	}
	if next.Lineage = &l; l.Bundle == "" && l.Run == "" && len(l.Trusted) < 2 {
		next.Lineage = nil
	}
	if o, err = c.s.own.Find(ctx, tx, c.v.ID, name); err != nil {
		return err
	}
	return c.s.putState(ctx, tx, c.v, o, &next)
}

// Authorities shows an authority and those below it, for whoever may see the certificate. Those of other vaults are left out where the caller may not see them.
func (s *Service) Authorities(ctx context.Context, call *guard.Call, name string) (line []Heir, err error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.CertificateGet, Kind: vault.Certificate, Name: name}
	err = s.Guard.Read(ctx, call, &need, func() error {
		v := call.Vault.Vault
		err := s.Store.View(ctx, func(tx store.Tx) error {
			_, err := s.objects.Live(ctx, tx, v.ID, name)
			return err
		})
		if err == nil {
			line, err = s.Line(ctx, v, name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	shown := line[:0]
	for _, h := range line {
		err := s.mayIn(ctx, call, &h, authz.CertificateGet)
		if fault.Is(err, fault.Forbidden) {
			continue
		}
		if err != nil {
			return nil, err
		}
		shown = append(shown, h)
	}
	return shown, nil
}

// mayIn asks for a right at an authority of another vault; those of the call's own are asked for elsewhere.
func (s *Service) mayIn(ctx context.Context, call *guard.Call, h *Heir, a authz.Action) error {
	if h.Vault.ID == call.Vault.Vault.ID {
		return nil
	}
	there, err := s.there(ctx, call, h.Vault.Name)
	if err != nil {
		return err
	}
	return s.Guard.Authorize(ctx, there, &guard.Need{Action: a, Kind: vault.Certificate, Name: h.Name, Detail: "change of the authority"})
}

// MaySucceed asks for the right to make versions of an authority and of all below it, which a change of it does, in each of their vaults.
func (s *Service) MaySucceed(ctx context.Context, call *guard.Call, name string) error {
	if err := s.Guard.Authorize(ctx, call, &guard.Need{Action: authz.CertificateCreate, Kind: vault.Certificate, Name: name, Detail: "change of the authority"}); err != nil {
		return err
	}
	line, err := s.Line(ctx, call.Vault.Vault, name)
	if err != nil {
		return err
	}
	for i := range line {
		if err := s.mayIn(ctx, call, &line[i], authz.CertificateCreate); err != nil {
			return err
		}
	}
	return nil
}
