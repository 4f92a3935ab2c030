package rotation

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Readers is an Evidence that knows whether anybody was ever given a secret.
type Readers interface {
	Read(ctx context.Context, o Subject) (bool, error)
}

// BundleType is the content type of trust bundles (RFC 8555, section 9.1, has no better one for certificates in PEM).
const BundleType = "application/x-pem-file"

// authority makes the calls of an authority's change.
func (c *calling) authority(ctx context.Context, e Effect, o *Observation) error {
	if c.e.Certificates == nil {
		return rotator.Fail(rotator.Misconfigured, nil, "this server keeps no certificates")
	}
	switch e.Kind {
	case CallSurvey:
		return c.surveyLine(ctx, o)
	case CallMake:
		s, err := c.successionOf(ctx, c.changing())
		if err != nil {
			return err
		}
		m, err := s.Make(ctx, c.changing().Name, e.Version)
		o.Made = &Made{Version: m.Version, Detail: m.Detail}
		return err
	case CallUnmake:
		s, err := c.successionOf(ctx, c.changing())
		if err != nil {
			return err
		}
		m, err := s.Unmake(ctx, c.changing().Name, e.Version)
		o.Made = &Made{Version: m.Version, Detail: m.Detail}
		return err
	case CallBundle:
		return c.bundles(ctx, o)
	case CallTrust:
		return c.bundleHolders(ctx, o)
	case CallReissue:
		return c.reissueChildren(ctx, o)
	case CallDeployed:
		return c.certificateHolders(ctx, o)
	default:
		return c.withdrawOld(ctx)
	}
}

func (d *driver) succession() *cert.Succession {
	return d.e.Certificates.Succession(d.vault, string(d.run.ID))
}

// elsewhere notes a vault that is not the run's own.
func (d *driver) elsewhere(v *vault.Vault) Elsewhere {
	if v.ID == d.vault.ID {
		return Elsewhere{}
	}
	return Elsewhere{v.ID, v.Name}
}

// named names something for people, with its vault where that is not the run's own.
func (d *driver) named(v *vault.Vault, name string) string {
	if v.ID == d.vault.ID {
		return name
	}
	return v.Name + "/" + name
}

// home finds the vault of something, which may be deleted meanwhile. One that was purged, with all that was in it, is nil.
func (d *driver) home(ctx context.Context, tx store.Tx, at Elsewhere) (*vault.Vault, error) {
	if at.Vault == "" {
		return d.vault, nil
	}
	v, err := tx.Vault(ctx, at.Vault)
	if isMissing(err) || err == nil && v.Tenant != d.vault.Tenant {
		return nil, nil
	}
	return v, err
}

// successionOf has the moves of an authority where that is.
func (d *driver) successionOf(ctx context.Context, h *Heir) (s *cert.Succession, err error) {
	err = d.e.Store.View(ctx, func(tx store.Tx) error {
		v, err := d.home(ctx, tx, h.Elsewhere)
		if err == nil && (v == nil || v.Deleted != nil) {
			err = fault.New(fault.Unavailable, "the vault %q, in which the authority %q changes, is deleted: recover it, or abort the change", h.In, h.Name)
		}
		s = d.e.Certificates.Succession(v, string(d.run.ID))
		return err
	})
	return s, err
}

func (d *driver) changing() *Heir { return &d.run.Succession.Line[d.run.Succession.At] }

// surveyLine finds the authorities and says whether their change can begin.
func (c *calling) surveyLine(ctx context.Context, o *Observation) error {
	s := &Survey{}
	err := c.e.Store.View(ctx, func(tx store.Tx) error {
		object, err := c.moves.Find(ctx, tx)
		if err == nil {
			s.Current = object.Current
		}
		return err
	})
	if isMissing(err) {
		o.Gone = true
		return nil
	}
	if err != nil {
		return err
	}
	line, err := c.e.Certificates.Line(ctx, c.vault, c.run.Policy.Authority)
	if err != nil {
		return err
	}
	o.Survey = s
	for _, h := range line {
		s.Line = append(s.Line, Heir{Elsewhere: c.elsewhere(h.Vault), Name: h.Name, Subject: h.Subject, Object: h.Object, Old: h.Issues})
		switch {
		case s.Refusal != nil:
		case h.Run != "" && h.Run != string(c.run.ID):
			s.Refusal = &Refusal{Reason: AuthorityBusy, Wait: true, Message: "the authority " + h.Name + " is changed by the run " + h.Run + ": this one waits for its end"}
		case h.Busy:
			s.Refusal = &Refusal{Reason: AuthorityBusy, Wait: true, Message: "an operation on the certificate " + h.Name + " is in progress: end it, or cancel it"}
		}
	}
	readers, ok := c.e.Evidence.(Readers)
	if s.Refusal != nil || !ok || c.run.Policy.Unread || c.run.Start.Cause.Urgent() {
		return nil
	}
	known, err := readers.Read(ctx, c.subject())
	if err == nil && !known {
		s.Refusal = &Refusal{Reason: NobodyReads, Wait: true, Message: "nobody has read the trust bundle " + c.run.NameKey +
			": those who trust the authority would not hear of its successor; let them read it, or say with `unread` that they need not"}
	}
	return err
}

// bundles seals the trust bundles of the authorities as they are to be: with what is trusted, and without what goes when that is dropped.
func (c *calling) bundles(ctx context.Context, o *Observation) error {
	line, err := c.e.Certificates.Line(ctx, c.vault, c.run.Policy.Authority)
	if err != nil {
		return err
	}
	without := make(map[vault.VersionID]bool)
	if c.run.State == Dropping {
		keep := c.run.keep()
		for _, h := range line {
			for _, v := range h.Trusted {
				without[v] = keep[h.Object] != "" && keep[h.Object] != v
			}
		}
	}
	for _, h := range line {
		if h.Bundle == "" {
			continue
		}
		b, err := c.bundle(ctx, h, without)
		if isMissing(err) {
			continue // somebody deleted it
		}
		if err != nil {
			return err
		}
		o.Bundles = append(o.Bundles, *b)
	}
	return nil
}

// bundle seals one trust bundle, unless the current version says the same already.
func (c *calling) bundle(ctx context.Context, h cert.Heir, without map[vault.VersionID]bool) (*Bundle, error) {
	var object *vault.Object
	var before *vault.Version
	err := c.e.Store.View(ctx, func(tx store.Tx) (err error) {
		if object, err = live(ctx, tx, h.Vault.ID, h.Bundle); err == nil {
			before, err = tx.Version(ctx, object.ID, object.Current)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	anchors, err := c.e.Certificates.Anchors(ctx, h.Vault, h.Name, without)
	if err != nil {
		return nil, err
	}
	b := &Bundle{Elsewhere: c.elsewhere(h.Vault), Name: object.Name, Object: object.ID, Version: object.Current, Base: object.Current, At: before.Attributes.Created}
	moves := c.e.Secrets.Rotation(h.Vault, object.Name, object.ID)
	value := certfile.WriteChainPEM(anchors)
	if _, current, err := moves.Open(ctx, object.Current); err != nil {
		return nil, err
	} else if bytes.Equal(current, value) {
		return b, nil
	}
	op := store.NewOp(c.now())
	ver, err := moves.Seal(ctx, op, bundleInput(value, before.Tags, anchors[0].NotAfter, op.At))
	if err != nil {
		return nil, err
	}
	c.sealed[ver.ID] = ver
	b.Version, b.At = ver.ID, op.At
	return b, nil
}

// bundleInput is a version of a trust bundle. It ends with the newest of its authorities, so that people hear in time that there has to be a successor.
func bundleInput(value []byte, tags map[string]string, end, now time.Time) secret.Input {
	in := secret.Input{Value: value, ContentType: BundleType, Tags: tags, Enabled: true}
	if end.After(now) {
		in.Expires = end
	}
	return in
}

// bundleHolders asks the ledger who holds a trust bundle without the successor.
func (c *calling) bundleHolders(ctx context.Context, o *Observation) error {
	w := &Witness{Safe: true}
	for _, b := range c.run.Succession.Bundles {
		s := c.subject()
		s.Vault, s.Object, s.NameKey = cmp.Or(b.Vault, c.vault.ID), b.Object, vault.NameKey(b.Name)
		var old []vault.VersionID
		err := c.e.Store.View(ctx, func(tx store.Tx) error {
			old = nil
			versions, err := tx.Versions(ctx, b.Object, "", 0)
			for _, ver := range versions {
				if ver.ID != b.Version && ver.State != vault.Abandoned {
					old = append(old, ver.ID)
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		if err := c.ask(ctx, w, s, old, b.Version, b.At); err != nil {
			return err
		}
	}
	o.Evidence = w
	return nil
}

// ask adds what the ledger says of old versions of one object. Whoever holds several of them is named once.
func (c *calling) ask(ctx context.Context, w *Witness, s Subject, old []vault.VersionID, now vault.VersionID, since time.Time) error {
	if by, err := c.e.Paused(ctx, c.run.Tenant); err != nil || by != 0 {
		return rotator.Fail(rotator.NotApplied, err, "the clock of this server was moved by %s: who needs the old version cannot be told until it is right again, or somebody resumes", by.Round(time.Second))
	}
	named := make(map[string]bool)
	for _, v := range old {
		verdict, err := c.e.Evidence.Verdict(ctx, s, v, now, since, &c.run.Policy)
		if err != nil {
			return err
		}
		w.Safe = w.Safe && verdict.Safe
		if verdict.Whole.After(w.Whole) {
			w.Whole = verdict.Whole
		}
		for _, h := range verdict.Waiting {
			if who := h.Principal + "\x00" + h.Instance; !named[who] {
				named[who] = true
				h.Why = "of " + s.NameKey + ": " + h.Why
				w.Waiting = append(w.Waiting, h)
			}
		}
	}
	return nil
}

// reissueChildren has certificates made anew that have no successor, as many as there is time for. What came of it the next look shows.
func (c *calling) reissueChildren(ctx context.Context, o *Observation) error {
	below, err := c.succession().Below(ctx, c.run.keep())
	if err != nil {
		return err
	}
	problems := make(map[string]string)
	for _, ch := range below.Children {
		if ch.New != "" || ch.Problem != "" {
			continue
		}
		if end, ok := ctx.Deadline(); ok && o.Begun > 0 && time.Until(end) < c.run.Pace.Call.Std()/2 {
			break
		}
		err := c.succession().Reissue(ctx, ch)
		switch {
		case err == nil:
			o.Begun++
		case ctx.Err() != nil && o.Begun > 0:
			o.Children = c.children(below.Children, problems)
			return nil // which is further than before
		case ctx.Err() != nil:
			return err
		default:
			problems[c.named(ch.Vault, ch.Name)] = sentence(err)
		}
	}
	o.Children = c.children(below.Children, problems)
	return nil
}

func (d *driver) children(list []cert.Child, problems map[string]string) (out []Child) {
	for _, ch := range list {
		w := Child{Elsewhere: d.elsewhere(ch.Vault), Name: ch.Name, Old: ch.Old, New: ch.New, At: ch.At, Problem: ch.Problem}
		if w.New == "" && w.Problem == "" {
			w.Problem = problems[d.named(ch.Vault, ch.Name)]
		}
		out = append(out, w)
	}
	return out
}

// certificateHolders asks the ledger who holds a certificate that the old authority signed.
func (c *calling) certificateHolders(ctx context.Context, o *Observation) error {
	below, err := c.succession().Below(ctx, c.run.keep())
	if err != nil {
		return err
	}
	w := &Witness{Safe: below.Count == 0, Waiting: others(&below)}
	for _, ch := range below.Children {
		if ch.New == "" {
			continue
		}
		s := c.subject()
		s.Vault, s.Object, s.NameKey, s.Kind = ch.Vault.ID, ch.Object, vault.NameKey(ch.Name), vault.Secret
		if !ch.Exports {
			s.Kind = vault.Certificate // consumers have the certificate alone, and sign by the vault's key
		}
		if err := c.ask(ctx, w, s, ch.Old, ch.New, ch.At); err != nil {
			return err
		}
	}
	problems := make(map[string]string)
	for _, ch := range c.run.Succession.Children {
		problems[ch.text()] = ch.Problem
	}
	o.Evidence, o.Children = w, c.children(below.Children, problems)
	return nil
}

// others names certificates of which nobody can tell who has them.
func others(below *cert.Below) (list []Holder) {
	for _, c := range below.Others {
		list = append(list, Holder{Principal: "certificate " + c.Subject, Instance: "serial number " + c.Serial,
			Why: "it was signed for somebody outside of the vault, and ends at " + c.NotAfter.UTC().Format(time.RFC3339) + ": see that another one is in use, and revoke it"})
	}
	if more := below.Count - len(below.Others); more > 0 {
		list = append(list, Holder{Principal: "certificates", Why: fmt.Sprintf("%d more were signed for others outside of the vault", more)})
	}
	return list
}

// withdrawOld has authorities that leaked taken back by those above them.
func (c *calling) withdrawOld(ctx context.Context) error {
	for _, h := range c.run.Succession.Line {
		s, err := c.successionOf(ctx, &h)
		if err != nil {
			return err
		}
		if err := s.Withdraw(ctx, h.Name, []vault.VersionID{h.Old}, issuer.CACompromise); err != nil {
			return err
		}
	}
	return nil
}

// authorityMove is a part of a journal entry of an authority's change.
func (c *commit) authorityMove(ctx context.Context, tx store.Tx, e Effect) error {
	s, keep := c.next.Succession, c.next.keep()
	for i := range s.Line {
		h := &s.Line[i]
		v, err := c.d.home(ctx, tx, h.Elsewhere)
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		moves := c.d.e.Certificates.Succession(v, string(c.d.run.ID))
		switch e.Kind {
		case MoveClaim:
			err = moves.Claim(ctx, tx, h.Name, h.Old)
		case MoveTrust:
			if h.New == e.Version {
				err = moves.Trust(ctx, tx, h.Name, e.Version)
			}
		case MoveIssue:
			by := h.Old
			if h.Issues {
				by = h.New
			}
			err = moves.Issue(ctx, tx, h.Name, by)
		case MoveSettle:
			v := vault.VersionID("")
			if e.Reason == Dropped {
				v = keep[h.Object]
			}
			err = moves.Settle(ctx, tx, h.Name, v, c.op.At)
			if e.Reason == "" && fault.Is(err, fault.Invalid) {
				err = nil // the certificate is gone, too
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// publish stores the trust bundles that were sealed.
func (c *commit) publish(ctx context.Context, tx store.Tx) error {
	for _, b := range c.next.Succession.Bundles {
		if b.Version == b.Base {
			continue
		}
		ver := c.d.sealed[b.Version]
		if ver == nil {
			return fault.New(fault.Conflict, "the trust bundle %q was not sealed by this worker", b.Name)
		}
		v, err := c.d.home(ctx, tx, b.Elsewhere)
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		moves := c.d.e.Secrets.Rotation(v, b.Name, b.Object)
		if err := moves.Pend(ctx, tx, ver); err != nil {
			return err
		}
		if err := moves.Promote(ctx, tx, b.Version, b.Base); err != nil {
			return err
		}
	}
	return nil
}

// succeededAuthority notes in the policy of the trust bundle that its authority changed, and when it does so next.
func (c *commit) succeededAuthority(ctx context.Context, tx store.Tx, p *store.Policy, doc *policyDoc) error {
	doc.State.Succeeded, doc.State.Length = c.op.At, Duration(c.op.At.Sub(c.next.Began))
	if i := c.written.Incident; i != nil && i.Until.IsZero() {
		ended := *i
		ended.Until = c.op.At
		c.written.Incident = &ended
	}
	n := *p
	o, err := c.d.moves.Find(ctx, tx)
	if err != nil {
		return err
	}
	return putPolicy(ctx, tx, &n, doc, o, c.op.At)
}
