package cert

import (
	"context"
	"crypto/x509"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/issuer"
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

// Made is how far the making of a version has come.
type Made struct {
	// Version is the new one; empty while it is not there. Detail says what its issuer waits for then.
	Version vault.VersionID
	Detail  string
}

// Make makes the next version of a claimed authority, with a key of its own, or says how far it is. after is the version that the run found: a newer current one is the run's
// own, since nobody else could make it. So it may be asked again after a crash.
func (c *Succession) Make(ctx context.Context, name string, after vault.VersionID) (Made, error) {
	o, st, m, err := c.look(ctx, name, after)
	switch {
	case err != nil || m.Version != "":
		return m, err
	case st.running():
		// Whoever made the request may have died before its issuer was asked.
		err := c.s.advance(ctx, c.v, o.ID, true)
		if _, _, m, lookErr := c.look(ctx, name, after); lookErr != nil || m.Version != "" {
			return m, lookErr
		}
		return m, err
	case st.Operation != nil && st.Operation.Status == Failed && st.Operation.Version > after && !c.s.worthAgain(st.Operation):
		return m, fault.New(fault.Unavailable, "the version %s of %q was not issued: %s", st.Operation.Version, o.Name, st.Operation.Message)
	}
	call := c.s.system(c.v, "AuthoritySucceed")
	call.Correlation = c.run
	need := guard.Need{Action: authz.CertificateCreate, Kind: vault.Certificate, Name: o.Name, Reason: "run " + c.run}
	enabled, tags := true, map[string]string(nil)
	err = c.s.Store.View(ctx, func(tx store.Tx) error {
		ver, err := tx.Version(ctx, o.ID, o.Current)
		if err == nil {
			tags = ver.Tags
		}
		return err
	})
	if err != nil {
		return m, err
	}
	if _, _, err := c.s.begin(ctx, call, need, Input{Tags: tags, Enabled: &enabled, run: c.run}, true); err != nil {
		return m, err
	}
	_, st, m, err = c.look(ctx, name, after)
	if err == nil && m.Version == "" && st.Operation != nil && st.Operation.Status == Failed {
		err = fault.New(fault.Unavailable, "the issuer does not make the successor of %q: %s", o.Name, st.Operation.Message)
	}
	return m, err
}

// worthAgain is how long a failed request rests before another one is made: each makes a key.
func (s *Service) worthAgain(op *Operation) bool { return s.Clock.Now().Sub(op.Started) > time.Second }

// Unmake gives up the version that is being made. What is returned was made all the same.
func (c *Succession) Unmake(ctx context.Context, name string, after vault.VersionID) (Made, error) {
	o, st, m, err := c.look(ctx, name, after)
	if err != nil || m.Version != "" || !st.running() {
		return m, err
	}
	err = c.s.unlessMoved(ctx, func(tx store.Tx) error {
		now, err := stateOf(ctx, tx, o.ID)
		if err != nil || !now.running() {
			return err
		}
		ended := *now.Operation
		ended.Status, ended.Cancelled, ended.Details = Cancelled, true, "The change of the authority was aborted."
		now.Operation = &ended
		return c.s.putState(ctx, tx, c.v, o, now)
	})
	if err != nil {
		return m, err
	}
	c.s.giveUp(ctx, c.v, o, st)
	_, _, m, err = c.look(ctx, name, after)
	return m, err
}

func (c *Succession) look(ctx context.Context, name string, after vault.VersionID) (o *vault.Object, st *state, m Made, err error) {
	err = c.s.Store.View(ctx, func(tx store.Tx) error {
		m = Made{}
		if o, st, err = c.s.authorityOf(ctx, tx, c.v, name); err != nil {
			return err
		}
		if st.Lineage == nil || st.Lineage.Run != c.run {
			return lostClaim(o.Name)
		}
		if o.Current > after {
			m.Version = o.Current
		} else if st.running() {
			m.Detail = st.Operation.Details
		}
		return nil
	})
	return o, st, m, err
}

// Child is a certificate that an authority has signed.
type Child struct {
	Name   string
	Object vault.ObjectID
	// Old are the versions that do not stand under what is kept and have not ended, the oldest first.
	Old []vault.VersionID
	// New is the current version when that stands under what is kept, and At when it became current.
	New vault.VersionID
	At  time.Time
	// Exports says that consumers take the certificate from the secret, with its key; otherwise the certificate alone.
	Exports bool
	// Problem says why nobody can make it anew by itself.
	Problem string
}

// Below is what authorities have signed that stands under versions that are not kept, and has not ended.
type Below struct {
	Children []Child
	// Others are certificates that were signed for others than certificates of the vault, at most mostOthers of them, and Count is how many there are.
	Others []Other
	Count  int
}

// Other is a certificate that does not belong to the vault, or not any more.
type Other struct {
	Subject, Serial string
	NotAfter        time.Time
}

// mostOthers bounds the certificates of others that are named.
const mostOthers = 100

// Below finds what stands under versions of claimed authorities that are not kept. keep has the version to keep of each authority, by its object.
func (c *Succession) Below(ctx context.Context, keep map[vault.ObjectID]vault.VersionID) (below Below, err error) {
	err = c.s.Store.View(ctx, func(tx store.Tx) error {
		below = Below{}
		by, err := c.signers(ctx, tx, keep)
		if err != nil || len(by.gone) == 0 {
			return err
		}
		q := store.ObjectQuery{Vault: c.v.ID, Kind: vault.Certificate, Limit: childrenAtOnce}
		for {
			page, err := tx.Objects(ctx, q)
			if err != nil {
				return err
			}
			for _, o := range page {
				if _, own := keep[o.ID]; own || o.Deleted != nil || o.Current == "" {
					continue
				}
				ch, err := c.child(ctx, tx, o, by)
				if err != nil {
					return err
				}
				if ch != nil {
					below.Children = append(below.Children, *ch)
				}
			}
			if len(page) < q.Limit {
				return c.others(ctx, tx, by, &below)
			}
			q.After = vault.NameKey(page[len(page)-1].Name)
		}
	})
	return below, err
}

// others finds on the records of the authorities what no certificate of the vault accounts for.
func (c *Succession) others(ctx context.Context, tx store.Tx, by *signers, below *Below) error {
	for _, id := range by.ids {
		q := store.LiveQuery{Authority: string(id), EndAfter: c.s.Clock.Now(), Limit: childrenAtOnce}
		for {
			page, err := tx.LiveIssuances(ctx, q)
			if err != nil {
				return err
			}
			for _, i := range page {
				if by.known[vault.VersionID(i.Request)] {
					continue
				}
				if below.Count++; len(below.Others) == mostOthers {
					continue
				}
				leaf, err := x509.ParseCertificate(i.DER)
				if err != nil {
					return fault.Wrap(err, fault.Internal, "the certificate %s on the records of an authority cannot be read", i.Serial)
				}
				below.Others = append(below.Others, Other{Subject: nameOf(leaf), Serial: i.Serial, NotAfter: i.NotAfter})
			}
			if len(page) < q.Limit {
				break
			}
			q.After = page[len(page)-1].Serial
		}
	}
	return nil
}

// nameOf is what people know a certificate by.
func nameOf(c *x509.Certificate) string {
	if len(c.Subject.Names) == 0 && len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return c.Subject.String()
}

// childrenAtOnce is how many certificates are read at a time.
const childrenAtOnce = 256

// signers are the certificates of the authorities that are to go, with the ids of their versions, and of those that are kept. known are the versions of all certificates of the vault
// that were come by.
type signers struct {
	gone, kept []*x509.Certificate
	ids        []vault.VersionID
	known      map[vault.VersionID]bool
}

func (c *Succession) signers(ctx context.Context, tx store.Tx, keep map[vault.ObjectID]vault.VersionID) (*signers, error) {
	by := &signers{known: map[vault.VersionID]bool{}}
	for o, id := range keep {
		versions, err := tx.Versions(ctx, o, "", 0)
		if err != nil {
			return nil, err
		}
		for _, ver := range versions {
			by.known[ver.ID] = true
			f, err := Describe(ver)
			if err != nil {
				return nil, err
			}
			if f.Leaf == nil {
				continue // it was never made
			}
			ca, err := f.Certificate()
			switch {
			case err != nil:
				return nil, err
			case ver.ID == id:
				by.kept = append(by.kept, ca)
			default:
				by.gone, by.ids = append(by.gone, ca), append(by.ids, ver.ID)
			}
		}
	}
	return by, nil
}

// child describes a certificate by what signed its versions; nil when that is nothing that goes.
func (c *Succession) child(ctx context.Context, tx store.Tx, o *vault.Object, by *signers) (*Child, error) {
	versions, err := tx.Versions(ctx, o.ID, "", 0)
	if err != nil {
		return nil, err
	}
	ch := &Child{Name: o.Name, Object: o.ID, Exports: true}
	now := c.s.Clock.Now()
	for _, ver := range versions {
		by.known[ver.ID] = true
		f, err := Describe(ver)
		if err != nil {
			return nil, err
		}
		if f.Leaf == nil || ver.Attributes.Expires.Before(now) {
			continue
		}
		leaf, err := f.Certificate()
		if err != nil {
			return nil, err
		}
		signed := func(ca *x509.Certificate) bool { return signedBy(leaf, ca) }
		switch {
		case slices.ContainsFunc(by.kept, signed) || !slices.ContainsFunc(by.gone, signed):
			if ver.ID == o.Current {
				ch.New, ch.At = ver.ID, ver.Attributes.Updated
			}
		case ver.ID == o.Current && !ver.Attributes.Enabled:
			ch.Old = append(ch.Old, ver.ID)
			ch.Problem = "its current version is disabled: enable it, or delete the certificate"
		default:
			ch.Old = append(ch.Old, ver.ID)
		}
	}
	if len(ch.Old) == 0 {
		return nil, nil
	}
	st, err := stateOf(ctx, tx, o.ID)
	if err != nil {
		return nil, err
	}
	switch p := st.Policy; {
	case p == nil:
		ch.Problem = "it has no policy: set one, and create it anew"
	case p.Issuer.Is(UnknownIssuer):
		ch.Problem = "its issuer is " + UnknownIssuer + ": have it signed anew, and merge it"
	case p.Key.Exportable != nil:
		ch.Exports = *p.Key.Exportable
	}
	return ch, nil
}

// Reissue begins to make a child anew by its policy, unless somebody does already. It may be asked again. What the issuer refused is its error.
func (c *Succession) Reissue(ctx context.Context, ch Child) error {
	var it Item
	var st *state
	err := c.s.Store.View(ctx, func(tx store.Tx) (err error) {
		if st, err = stateOf(ctx, tx, ch.Object); err != nil {
			return err
		}
		if it.Object, err = c.s.own.Find(ctx, tx, c.v.ID, ch.Name); err == nil {
			it.Version, err = tx.Version(ctx, it.Object.ID, it.Object.Current)
		}
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil // it was deleted meanwhile
	}
	if err != nil || it.Object.ID != ch.Object {
		return err
	}
	if st.running() {
		return c.s.advance(ctx, c.v, it.Object.ID, true)
	}
	err = c.s.renew(ctx, c.v, it)
	if fault.Is(err, fault.Conflict) && fault.As(err).Reason == InProgressReason {
		return nil
	}
	if err != nil {
		return err
	}
	err = c.s.Store.View(ctx, func(tx store.Tx) (err error) {
		st, err = stateOf(ctx, tx, ch.Object)
		return err
	})
	if err == nil && st.Operation != nil && st.Operation.Status == Failed {
		return fault.New(fault.Unavailable, "%s", st.Operation.Message)
	}
	return err
}

// Withdraw has the versions of an authority that were signed by one above it taken back by that. A root can be taken back by nobody.
func (c *Succession) Withdraw(ctx context.Context, name string, versions []vault.VersionID, reason issuer.Reason) error {
	for _, id := range versions {
		it, leaf, ref, err := c.s.revoking(ctx, c.v, Selector{Name: name, Version: id})
		if err != nil {
			return err
		}
		if ref.Is(SelfIssuer) || ref.Is(UnknownIssuer) {
			return nil
		}
		by, err := c.s.issuer(ctx, c.v, it.Object.Name, ref)
		if err != nil {
			return err
		}
		revoker, ok := by.(issuer.Revoker)
		if !ok {
			return nil
		}
		// One of an authority that is gone itself is not on the records of its successor.
		if err := revoker.Revoke(ctx, leaf, reason); err != nil && !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Unsupported) {
			return err
		}
	}
	return nil
}

// Authorities shows an authority and those below it, for whoever may see the certificate.
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
	return line, err
}
