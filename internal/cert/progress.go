package cert

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"maps"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// issuer finds the issuer that a reference names, for the certificate of that name; a new one has no object yet.
func (s *Service) issuer(ctx context.Context, v *vault.Vault, name string, ref IssuerRef) (issuer.Issuer, error) {
	o := Order{Vault: v, Ref: ref}
	if ref.Is(SelfIssuer) {
		o.Signer = func(ctx context.Context) (crypto.Signer, error) {
			k, err := s.pendingKey(ctx, v, name)
			if err != nil {
				return nil, err
			}
			return k.Signer()
		}
	} else if !ref.Is(UnknownIssuer) {
		var err error
		if o.Settings, err = s.openSettings(ctx, v, ref.Name); err != nil {
			return nil, err
		}
		o.Authority = s.opener(v, o.Settings)
	}
	return s.Issuers.Issuer(ctx, o)
}

// pendingKey is the key of the version that waits for its issuer.
func (s *Service) pendingKey(ctx context.Context, v *vault.Vault, name string) (*cryptokey.Key, error) {
	var ver *vault.Version
	err := s.Store.View(ctx, func(tx store.Tx) error {
		k, err := s.keys.Find(ctx, tx, v.ID, name)
		if err == nil {
			ver, err = tx.Version(ctx, k.ID, k.LabelOf(vault.Pending))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.keys.Key(ctx, v, ver)
}

// proceed asks an issuer that answers at once, and wakes the background work for the others. The operation is stored, so whatever goes wrong here is
// tried again there.
func (s *Service) proceed(ctx context.Context, v *vault.Vault, o *vault.Object) {
	defer s.Wake()
	if err := s.advance(ctx, v, o.ID, true); err != nil {
		s.Logger.WarnContext(ctx, "a certificate waits; its issuer is asked again", "certificate", o.Name, "vault", v.Name, "error", err)
	}
}

// Wake makes the background work look at once.
func (s *Service) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Woken is readable when there may be something to do before it is due.
func (s *Service) Woken() <-chan struct{} { return s.wake }

// pollAgain is when an issuer is asked again that says nothing about it.
const pollAgain = 10 * time.Second

// advance brings an operation in progress one step on: it asks its issuer, and stores what that says. With quick it does so only when the issuer answers
// at once.
func (s *Service) advance(ctx context.Context, v *vault.Vault, id vault.ObjectID, quick bool) error {
	st, o, previous, err := s.look(ctx, v, id)
	if err != nil || !st.running() {
		return err
	}
	op := st.Operation
	by, err := s.issuer(ctx, v, o.Name, op.Issuer)
	if err != nil {
		return s.setBack(ctx, v, o, st, err)
	}
	if quick && by.Describe().Waits {
		return nil
	}
	r, err := st.request(previous)
	if err != nil {
		return err
	}
	var result issuer.Result
	if op.Token == nil {
		result, err = by.Begin(ctx, r)
	} else {
		result, err = by.Poll(ctx, r, op.Token)
	}
	switch {
	case err != nil:
		return s.setBack(ctx, v, o, st, err)
	case result.Pending != nil:
		return s.wait(ctx, v, o, st, result.Pending)
	}
	if err := issuer.CheckChain(r, result.Chain); err != nil {
		return s.setBack(ctx, v, o, st, err)
	}
	_, st.advises = by.(issuer.Advisor)
	err = s.complete(ctx, s.system(v, "CertificateEnroll"), o, st, result.Chain)
	if f := fault.As(err); f != nil && f.Reason == InProgressReason {
		return nil // somebody was there first: another node, or whoever cancelled it
	}
	return err
}

// look reads a certificate with its state and the certificate that is current.
func (s *Service) look(ctx context.Context, v *vault.Vault, id vault.ObjectID) (st *state, o *vault.Object, current *x509.Certificate, err error) {
	var ver *vault.Version
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		if st, err = stateOf(ctx, tx, id); err != nil || st.row == nil {
			return err
		}
		if o, err = s.own.Find(ctx, tx, v.ID, st.row.NameKey); err != nil {
			return err
		}
		if o.Current != "" {
			ver, err = tx.Version(ctx, o.ID, o.Current)
		}
		return err
	})
	if err != nil || ver == nil {
		return st, o, nil, err
	}
	f, err := Describe(ver)
	if err != nil || f.Leaf == nil {
		return st, o, nil, err
	}
	current, err = x509.ParseCertificate(f.Leaf)
	return st, o, current, err
}

// The bounds of the pauses between tries, and how long an operation goes on failing before it is given up.
const (
	firstRetry = 30 * time.Second
	lastRetry  = time.Hour
	giveUp     = 7 * 24 * time.Hour
)

// setBack notes that a try failed. What may succeed later is tried again, ever more slowly; the rest ends the operation.
func (s *Service) setBack(ctx context.Context, v *vault.Vault, o *vault.Object, st *state, cause error) error {
	now := s.Clock.Now()
	next := *st
	op := *st.Operation
	next.Operation = &op
	if ctx.Err() != nil {
		return cause // the program ends: nothing is known of the issuer
	}
	f := fault.As(cause)
	if f == nil { // of no kind: what went wrong is ours, and the caller logs it
		f = fault.New(fault.Internal, "something went wrong here")
	}
	id := string(vault.NewVersionID(now)) // of the event, if there is one
	op.Tries++
	if temporary(f.Kind) && now.Sub(op.Started) < giveUp {
		pause := max(min(firstRetry<<min(op.Tries-1, 10), lastRetry), f.RetryAfter)
		due := now.Add(pause)
		op.Details = "The issuer could not be asked; it is asked again at " + due.UTC().Format(time.RFC3339) + ": " + f.Message
		tells := op.Renewal && !op.Warned && now.Sub(op.Started) >= warnAfter
		op.Warned = op.Warned || tells
		return errors.Join(s.unlessMoved(ctx, func(tx store.Tx) error {
			if err := next.put(ctx, tx, v, o, due); err != nil || !tells {
				return err
			}
			return s.tellFailure(ctx, tx, v, o, &op, id, now, f)
		}), cause)
	}
	op.Status, op.Code, op.Message = Failed, string(f.Reason), f.Message
	if op.Code == "" {
		op.Code = "IssuerError"
	}
	op.Details = "The issuer did not issue the certificate."
	// The version before is to be renewed all the same: another operation begins when it is time for that.
	return errors.Join(s.unlessMoved(ctx, func(tx store.Tx) error {
		if err := s.putState(ctx, tx, v, o, &next); err != nil || !op.Renewal {
			return err
		}
		return s.tellFailure(ctx, tx, v, o, &op, id, now, f)
	}), cause)
}

// wait notes what the issuer waits for.
func (s *Service) wait(ctx context.Context, v *vault.Vault, o *vault.Object, st *state, p *issuer.Pending) error {
	next := *st
	op := *st.Operation
	next.Operation = &op
	op.Token, op.Tries = p.Token, 0
	due := time.Time{}
	if !op.Issuer.Is(UnknownIssuer) {
		op.Details = p.Detail
		due = s.Clock.Now().Add(max(p.RetryAfter, time.Second))
		if p.RetryAfter == 0 {
			due = s.Clock.Now().Add(pollAgain)
		}
	}
	return s.note(ctx, v, o, &next, due)
}

// note stores a state that the background work came to, unless somebody else was there first.
func (s *Service) note(ctx context.Context, v *vault.Vault, o *vault.Object, st *state, due time.Time) error {
	return s.unlessMoved(ctx, func(tx store.Tx) error { return st.put(ctx, tx, v, o, due) })
}

// unlessMoved changes the store, or nothing when somebody else was there first.
func (s *Service) unlessMoved(ctx context.Context, change func(store.Tx) error) error {
	err := s.Store.Update(ctx, store.NewOp(s.Clock.Now()), change)
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// complete stores what the issuer gave, and makes it current.
func (s *Service) complete(ctx context.Context, call *guard.Call, o *vault.Object, st *state, chain []*x509.Certificate) error {
	v, made, op := call.Vault.Vault, st.Operation, store.NewOp(s.Clock.Now())
	need := guard.Need{Action: authz.CertificateCreate, Kind: vault.Certificate, Name: o.Name, Version: made.Version, Reason: "CertificatePolicy"}
	b, ver, err := s.sealSecret(ctx, v, o.Name, st, chain, op)
	if err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		return s.finish(ctx, tx, v, o.ID, st, b, ver, op)
	})
}

// sealSecret makes the secret of the version that an operation makes.
func (s *Service) sealSecret(ctx context.Context, v *vault.Vault, name string, st *state, chain []*x509.Certificate, op store.Op) (*certfile.Bundle, *vault.Version, error) {
	made, p := st.Operation, st.making()
	k, err := s.pendingKey(ctx, v, name)
	if err != nil {
		return nil, nil, err
	}
	b, err := bundle(k, chain, made.PreserveOrder, *p.Key.Exportable)
	if err != nil {
		return nil, nil, err
	}
	value, err := file(b, p.Secret.ContentType)
	if err != nil {
		return nil, nil, err
	}
	defer clear(value)
	ver, err := s.secrets.Seal(ctx, v, made.SecretObject, made.Version, op.At, &object.Draft{Value: value, ContentType: p.Secret.ContentType,
		Tags: made.Tags, Enabled: made.Enabled, NotBefore: b.Leaf.NotBefore, Expires: b.Leaf.NotAfter})
	return b, ver, err
}

// finish makes the three versions current. Whoever ended the operation meanwhile comes first.
func (s *Service) finish(ctx context.Context, tx store.Tx, v *vault.Vault, id vault.ObjectID, read *state, b *certfile.Bundle, secret *vault.Version, op store.Op) error {
	st, err := stateOf(ctx, tx, id)
	if err != nil {
		return err
	}
	if st.Operation == nil || st.Operation.Version != read.Operation.Version || st.Operation.Status != read.Operation.Status {
		return fault.New(fault.Conflict, "the operation on the certificate was ended meanwhile: look at it, and begin another").Because(InProgressReason)
	}
	// What a merge says of the version counts more than what was said when the operation began, and the secret is sealed by it.
	made := *st.Operation
	made.Tags, made.Enabled = read.Operation.Tags, read.Operation.Enabled
	dated := func(ver *vault.Version) error {
		ver.Tags, ver.Attributes.Enabled = maps.Clone(made.Tags), made.Enabled
		ver.Attributes.NotBefore, ver.Attributes.Expires, ver.Attributes.Updated = b.Leaf.NotBefore, b.Leaf.NotAfter, op.At
		return nil
	}
	o, err := s.own.Find(ctx, tx, v.ID, st.row.NameKey)
	if err != nil {
		return err
	}
	if err := s.keys.Promote(ctx, tx, v, o.Name, made.Version, dated); err != nil {
		return err
	}
	if err := s.secrets.Add(ctx, tx, v, o.Name, secret, false); err != nil {
		return err
	}
	err = s.own.Promote(ctx, tx, v, o.Name, made.Version, func(ver *vault.Version) error {
		doc, err := factsOf(b, st.making(), made.PreserveOrder).encode()
		ver.Doc = doc
		return errors.Join(err, dated(ver))
	})
	if err != nil {
		return err
	}
	if o, err = s.own.Find(ctx, tx, v.ID, o.Name); err != nil { // as it was promoted
		return err
	}
	ver, err := tx.Version(ctx, o.ID, o.Current)
	if err != nil {
		return err
	}
	made.Status, made.Details, made.Token, made.Code, made.Message, made.Policy = Completed, "", nil, "", "", nil
	st.Operation, st.Advice = &made, nil
	if err := present(ctx, tx, v, o.Name, op.At); err != nil {
		return err
	}
	if read.advises {
		st.Advice = firstAdvice(made.Version, b.Leaf, op.At)
	}
	return st.put(ctx, tx, v, o, st.due(Item{Object: o, Version: ver}))
}
