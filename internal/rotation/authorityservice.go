package rotation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// NoBundle is the reason of the fault when an authority has no trust bundle.
const NoBundle fault.Reason = "TrustBundleNotFound"

// bundleSuffix makes the usual name of an authority's trust bundle.
const bundleSuffix = "-trust"

// PublishTrust keeps what those who trust an authority have to trust in a secret, from here on, and says how the authority changes: by the policy's grace, deadline and so on.
// Again, it changes that. An empty name is the one that the bundle has, or the authority's with a suffix. A secret of that name that is something else is a fault.Conflict.
func (s *Service) PublishTrust(ctx context.Context, call *guard.Call, authority, bundle string, p *Policy) (*PolicyInfo, error) {
	line, err := s.authorities(ctx, call, authority)
	if err != nil {
		return nil, err
	}
	own := &line[0]
	switch {
	case bundle == "" && own.Bundle != "":
		bundle = own.Bundle
	case bundle == "":
		bundle = own.Name + bundleSuffix
	}
	need := guard.Need{Action: authz.RotationPolicyWrite, Kind: vault.Secret, Name: bundle, Detail: "trust bundle of " + own.Name}
	if err := vault.CheckObjectName(bundle); err != nil {
		return nil, err
	}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	if err := s.maySucceed(ctx, call, own.Name); err != nil {
		return nil, err
	}
	q := *p
	q.Strategy, q.Authority, q.Format = rotator.CertificateOverlap, own.Name, Format{Kind: Raw}
	if err := Invalid(q.checkAuthority()); err != nil {
		return nil, s.e.Guard.Refuse(ctx, call, need, err)
	}
	exists, err := s.bundleOf(ctx, call.Vault.Vault, own, bundle)
	if err != nil {
		return nil, s.e.Guard.Refuse(ctx, call, need, err)
	}
	if exists {
		err = s.changeBundlePolicy(ctx, call, need, &q)
	} else {
		err = s.makeBundle(ctx, call, own, bundle, &q)
	}
	if err != nil {
		return nil, err
	}
	return s.readPolicyOf(ctx, call, bundle)
}

// maySucceed asks for the right to make versions of the authority and of those below it, in whatever vaults they are, which a change of it does.
func (s *Service) maySucceed(ctx context.Context, call *guard.Call, authority string) error {
	return s.e.Certificates.MaySucceed(ctx, call, authority)
}

// mayRun asks for what the change of an authority takes beyond the right to run.
func (s *Service) mayRun(ctx context.Context, call *guard.Call, name string) error {
	info, err := s.readPolicyOf(ctx, call, name)
	if isMissing(err) {
		return nil // which is said further on
	}
	if err != nil || info.Policy.runs() != store.AuthorityRun {
		return err
	}
	return s.maySucceed(ctx, call, info.Policy.Authority)
}

// authorities finds an authority and those below it, for a caller who may see it.
func (s *Service) authorities(ctx context.Context, call *guard.Call, name string) ([]cert.Heir, error) {
	if s.e.Certificates == nil {
		return nil, fault.New(fault.Unsupported, "this server keeps no certificates")
	}
	return s.e.Certificates.Authorities(ctx, call, name)
}

func (s *Service) readPolicyOf(ctx context.Context, call *guard.Call, name string) (info *PolicyInfo, err error) {
	err = s.e.Store.View(ctx, func(tx store.Tx) error {
		_, stored, err := policyOf(ctx, tx, call.Vault.Vault.ID, name)
		if err == nil {
			info, err = ReadPolicy(stored)
		}
		return err
	})
	return info, err
}

// bundleOf reports whether the secret is the authority's trust bundle already. Another bundle, or another secret, is a fault.Conflict.
func (s *Service) bundleOf(ctx context.Context, v *vault.Vault, own *cert.Heir, bundle string) (exists bool, err error) {
	err = s.e.Store.View(ctx, func(tx store.Tx) error {
		exists = false
		if own.Bundle != "" && !strings.EqualFold(own.Bundle, bundle) {
			_, err := live(ctx, tx, v.ID, own.Bundle)
			if err == nil {
				return fault.New(fault.Conflict, "the authority %q has the trust bundle %q already: leave the name out, or delete that secret first", own.Name, own.Bundle)
			}
			if !isMissing(err) {
				return err
			}
		}
		o, err := tx.Object(ctx, v.ID, vault.Secret, bundle)
		if isMissing(err) {
			return nil
		}
		if err == nil {
			err = o.CheckLive()
		}
		if err != nil {
			return err
		}
		stored, err := tx.Policy(ctx, o.ID)
		if err == nil {
			doc, err := readPolicy(stored)
			if err != nil {
				return err
			}
			exists = doc.Policy.runs() == store.AuthorityRun && strings.EqualFold(doc.Policy.Authority, own.Name)
		}
		if err == nil && exists || err != nil && !isMissing(err) {
			return err
		}
		return fault.New(fault.Conflict, "a secret with the name %q exists and is no trust bundle of %q: give the bundle another name", o.Name, own.Name)
	})
	return exists, err
}

func (s *Service) changeBundlePolicy(ctx context.Context, call *guard.Call, need guard.Need, p *Policy) error {
	op := store.NewOp(s.e.now(call.Vault.Vault.Tenant))
	return s.e.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		o, stored, err := policyOf(ctx, tx, call.Vault.Vault.ID, need.Name)
		if err != nil {
			return err
		}
		doc, err := readPolicy(stored)
		if err != nil {
			return err
		}
		doc.Policy = *p
		n := *stored
		return putPolicy(ctx, tx, &n, doc, o, op.At)
	})
}

// makeBundle stores the secret, its policy, and which authority's it is, in one transaction.
func (s *Service) makeBundle(ctx context.Context, call *guard.Call, own *cert.Heir, bundle string, p *Policy) error {
	v := call.Vault.Vault
	anchors, err := s.e.Certificates.Anchors(ctx, v, own.Name, nil)
	if err != nil {
		return err
	}
	now := s.e.now(v.Tenant)
	in := bundleInput(certfile.WriteChainPEM(anchors), nil, anchors[0].NotAfter, now)
	in.Detail = "trust bundle of " + own.Name
	in.Beside = func(tx store.Tx, it secret.Item) error {
		if it.Version.Previous != "" {
			return fault.New(fault.Conflict, "the secret %q was made by others meanwhile: try again", it.Object.Name)
		}
		doc := &policyDoc{Policy: *p, State: policyState{Set: now}}
		row := &store.Policy{Object: it.Object.ID, Tenant: v.Tenant, Vault: v.ID, Kind: vault.Secret, NameKey: vault.NameKey(it.Object.Name), DueAt: doc.due(it.Object.ID, it.Version)}
		if err := keep(ctx, tx, row, doc); err != nil {
			return err
		}
		return s.e.Certificates.Succession(v, "").Publish(ctx, tx, own.Name, it.Object.Name)
	}
	_, err = s.e.Secrets.Set(ctx, call, bundle, in)
	return err
}

// checkAuthority reports what is wrong with the policy of a trust bundle.
func (p *Policy) checkAuthority() []Mistake {
	c := &checker{p: p, s: (&Engine{}).surroundings(p)}
	c.times()
	c.deadline()
	c.references()
	if p.overdue() == DisableThenDelete {
		c.add("overdue", "use hold or force", "a trust bundle that is disabled is one that nobody can read")
	}
	return c.found
}

// authority checks that no other policy says what is about trust bundles.
func (c *checker) authority() {
	if strategies[c.p.Strategy].authority {
		return
	}
	if c.p.Authority != "" {
		c.add("authority", "leave it out", "only the secret of a trust bundle has an authority")
	}
	if c.p.Unread {
		c.add("unread", "leave it out", "only trust bundles wait for readers")
	}
}

// keepsBundle refuses to change the policy of a trust bundle in the way of other policies.
func keepsBundle(o *vault.Object, doc *policyDoc) error {
	if doc.Policy.runs() != store.AuthorityRun {
		return nil
	}
	return fault.New(fault.Conflict, "the secret %q is the trust bundle of the authority %q: say with `keywright cert ca publish` how that changes, or delete the secret", o.Name,
		doc.Policy.Authority).Because("TrustBundle")
}

// ChangeAuthority starts the change of an authority, by the policy of its trust bundle.
func (s *Service) ChangeAuthority(ctx context.Context, call *guard.Call, authority string, start Start) (*Run, error) {
	bundle, current, err := s.bundleAt(ctx, call, authority)
	if err != nil {
		return nil, err
	}
	if start.Cause == Leaked && start.Version == "" {
		start.Version = current // what leaked is the authority that it trusts
	}
	return s.Run(ctx, call, bundle, start)
}

// PlanAuthority rehearses it.
func (s *Service) PlanAuthority(ctx context.Context, call *guard.Call, authority string) (*Rehearsal, error) {
	bundle, _, err := s.bundleAt(ctx, call, authority)
	if err == nil {
		err = s.maySucceed(ctx, call, authority)
	}
	if err != nil {
		return nil, err
	}
	return s.Plan(ctx, call, bundle)
}

// bundleAt finds the trust bundle of an authority.
func (s *Service) bundleAt(ctx context.Context, call *guard.Call, authority string) (name string, current vault.VersionID, err error) {
	line, err := s.authorities(ctx, call, authority)
	if err != nil {
		return "", "", err
	}
	missing := fault.New(fault.NotFound, "the authority %q has no trust bundle, so nobody can tell who has to hear of its successor: publish one with `keywright cert ca publish`, and have those who "+
		"trust the authority read it", line[0].Name).Because(NoBundle)
	if line[0].Bundle == "" {
		return "", "", missing
	}
	err = s.e.Store.View(ctx, func(tx store.Tx) error {
		o, err := live(ctx, tx, call.Vault.Vault.ID, line[0].Bundle)
		if isMissing(err) {
			return missing
		}
		if err == nil {
			name, current = o.Name, o.Current
		}
		return err
	})
	return name, current, err
}

// AuthorityState is an authority as people see it.
type AuthorityState struct {
	// Line is the authority and those below it.
	Line []cert.Heir
	// Policy is that of the trust bundle, Run the last change; nil for none.
	Policy *PolicyInfo
	Run    *Run
}

// Authority shows an authority with its trust bundle and its last change.
func (s *Service) Authority(ctx context.Context, call *guard.Call, authority string) (*AuthorityState, error) {
	line, err := s.authorities(ctx, call, authority)
	if err != nil {
		return nil, err
	}
	st := &AuthorityState{Line: line}
	if line[0].Bundle == "" {
		return st, nil
	}
	need := guard.Need{Action: authz.RotationRead, Kind: vault.Secret, Name: line[0].Bundle}
	err = s.e.Guard.Read(ctx, call, &need, func() error {
		return s.e.Store.View(ctx, func(tx store.Tx) error {
			o, stored, err := policyOf(ctx, tx, call.Vault.Vault.ID, line[0].Bundle)
			if isMissing(err) {
				return nil // it was deleted
			}
			if err != nil {
				return err
			}
			if st.Policy, err = ReadPolicy(stored); err != nil {
				return err
			}
			st.Policy.Name = o.Name
			found, err := tx.Runs(ctx, store.RunQuery{Object: o.ID, Kind: store.AuthorityRun, Limit: 1})
			if err != nil || len(found) == 0 {
				return err
			}
			st.Run, err = ReadRun(found[0])
			return err
		})
	})
	return st, err
}

// rehearseAuthority says what a change of an authority would do, how long it is likely to take, and who has to move.
func (c *calling) rehearseAuthority(ctx context.Context, h *Rehearsal) error {
	var o Observation
	if err := c.surveyLine(ctx, &o); err != nil {
		return h.refuse(c, err)
	}
	if o.Survey == nil {
		return runNotFound(c.run.ID) // the bundle is gone
	}
	h.Current, h.Authorities, h.Safe = o.Survey.Current, o.Survey.Line, true
	if r := o.Survey.Refusal; r != nil {
		h.Safe, h.Refused, h.Reason = false, r.Message, r.Reason
	}
	none := make(map[vault.ObjectID]vault.VersionID)
	for _, a := range h.Authorities {
		none[a.Object] = ""
	}
	below, err := c.succession().Below(ctx, none)
	if err != nil {
		return err
	}
	list := below.Children
	for _, ch := range list {
		h.Certificates = append(h.Certificates, c.named(ch.Vault, ch.Name))
		if ch.Problem != "" {
			h.Warnings = append(h.Warnings, fmt.Sprintf("the certificate %q would hold the change: %s", ch.Name, ch.Problem))
		}
	}
	p := &c.run.Policy
	h.RevokedAfter = Duration(len(h.Authorities)+1) * p.Grace
	if !h.Measured {
		wait := max(p.Grace, p.CacheTTL+p.MaxConnectionLife) + c.run.Pace.Look
		h.Length = Duration(len(h.Authorities)+1)*wait + Duration(len(list))*Duration(issueTime)
	}
	err = c.authorityRisk(ctx, h, list)
	h.AtRisk = append(h.AtRisk, others(&below)...)
	return err
}

// issueTime is about how long one certificate takes to be made anew.
const issueTime = 200 * time.Millisecond

// authorityRisk names the consumers of the trust bundles and of the certificates as they are now.
func (c *calling) authorityRisk(ctx context.Context, h *Rehearsal, list []cert.Child) error {
	w, since := &Witness{}, c.now().Add(-time.Second)
	line, err := c.e.Certificates.Line(ctx, c.vault, c.run.Policy.Authority)
	if err != nil {
		return err
	}
	for _, a := range line {
		if a.Bundle == "" {
			continue
		}
		var o *vault.Object
		err := c.e.Store.View(ctx, func(tx store.Tx) (err error) {
			o, err = live(ctx, tx, a.Vault.ID, a.Bundle)
			return err
		})
		if isMissing(err) {
			continue
		}
		if err != nil {
			return err
		}
		h.Bundles = append(h.Bundles, c.named(a.Vault, o.Name))
		s := c.subject()
		s.Vault, s.Object, s.NameKey = a.Vault.ID, o.ID, vault.NameKey(o.Name)
		if err := c.ask(ctx, w, s, []vault.VersionID{o.Current}, "", since); err != nil {
			return err
		}
	}
	for _, ch := range list {
		s := c.subject()
		s.Vault, s.Object, s.NameKey, s.Kind = ch.Vault.ID, ch.Object, vault.NameKey(ch.Name), vault.Secret
		if !ch.Exports {
			s.Kind = vault.Certificate
		}
		if err := c.ask(ctx, w, s, ch.Old, "", since); err != nil {
			return err
		}
	}
	h.AtRisk = w.Waiting
	return nil
}
