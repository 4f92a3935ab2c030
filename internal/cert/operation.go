package cert

import (
	"context"
	"crypto/x509"
	"maps"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// NoOperation is the reason of the fault when a certificate has no operation.
const NoOperation fault.Reason = "PendingCertificateNotFound"

// Operation returns the operation of a certificate: the one in progress, or the last one that ended. An id that is given must be its.
func (s *Service) Operation(ctx context.Context, call *guard.Call, name string, id vault.VersionID) (o *vault.Object, op *Operation, err error) {
	if err := CheckName(name); err != nil {
		return nil, nil, err
	}
	need := guard.Need{Action: authz.CertificateGet, Kind: vault.Certificate, Name: name}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			var st *state
			o, st, err = s.operating(ctx, tx, call.Vault.Vault, name, id)
			if fault.Is(err, fault.NotFound) && st != nil && st.stalledOperation() != nil && id == "" {
				err = nil
			}
			if err == nil {
				op = st.shown()
				need.Name, need.Version = o.Name, op.Version
			}
			return err
		})
	})
	return o, op, err
}

// shown is the operation as callers see it: with the renewal that cannot begin after it.
func (st *state) shown() *Operation {
	if st.Operation == nil {
		op := st.stalledOperation()
		op.Stalled = st.Stalled
		return op
	}
	op := *st.Operation
	op.Stalled = st.Stalled
	return &op
}

// operating finds a live certificate that has an operation.
func (s *Service) operating(ctx context.Context, tx store.Tx, v *vault.Vault, name string, id vault.VersionID) (*vault.Object, *state, error) {
	o, err := s.objects.Live(ctx, tx, v.ID, name)
	if err != nil {
		return nil, nil, err
	}
	st, err := stateOf(ctx, tx, o.ID)
	if err != nil {
		return nil, nil, err
	}
	if st.Operation == nil || id != "" && id != st.Operation.Version {
		return o, st, fault.New(fault.NotFound, "the certificate %q has no such operation: create the certificate to begin one", o.Name).Because(NoOperation)
	}
	return o, st, nil
}

// Cancel asks for an operation in progress to be given up, and gives it up. Its key stays, so that a certificate that was issued all the same can
// be merged. An operation that has ended is a fault.Invalid.
func (s *Service) Cancel(ctx context.Context, call *guard.Call, name string) (*vault.Object, *Operation, error) {
	o, st, err := s.end(ctx, call, name, authz.CertificateUpdate, func(tx store.Tx, o *vault.Object, st *state, op store.Op) error {
		if !st.running() {
			return fault.New(fault.Invalid, "the operation on the certificate %q has ended, as %s, and cannot be cancelled", o.Name, st.Operation.Status)
		}
		ended := *st.Operation
		ended.Status, ended.Cancelled, ended.Details = Cancelled, true, "The operation was cancelled."
		st.Operation = &ended
		return s.putState(ctx, tx, call.Vault.Vault, o, st)
	})
	if err != nil {
		return nil, nil, err
	}
	s.giveUp(ctx, call.Vault.Vault, o, st)
	return o, st.Operation, nil
}

// DeleteOperation removes the operation of a certificate. One in progress is given up, with its key.
func (s *Service) DeleteOperation(ctx context.Context, call *guard.Call, name string) (*vault.Object, *Operation, error) {
	var removed *Operation
	var running bool
	o, st, err := s.end(ctx, call, name, authz.CertificateUpdate, func(tx store.Tx, o *vault.Object, st *state, op store.Op) error {
		running, removed = st.running(), st.Operation
		if st.Operation.Status != Completed {
			if err := s.dropPending(ctx, tx, call.Vault.Vault, name, op); err != nil {
				return err
			}
		}
		st.Operation = nil
		return s.putState(ctx, tx, call.Vault.Vault, o, st)
	})
	if err != nil {
		return nil, nil, err
	}
	if running {
		last := *st
		last.Operation = removed
		s.giveUp(ctx, call.Vault.Vault, o, &last)
	}
	return o, removed, nil
}

// end changes the state of a certificate that has an operation.
func (s *Service) end(ctx context.Context, call *guard.Call, name string, action authz.Action, change func(store.Tx, *vault.Object, *state, store.Op) error) (o *vault.Object, st *state, err error) {
	if err := CheckName(name); err != nil {
		return nil, nil, err
	}
	need := guard.Need{Action: action, Kind: vault.Certificate, Name: name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, nil, err
	}
	op := store.NewOp(s.Clock.Now())
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		if o, st, err = s.operating(ctx, tx, call.Vault.Vault, name, ""); err != nil {
			return err
		}
		return change(tx, o, st, op)
	})
	return o, st, err
}

// putState stores a state that somebody changed, and finds out when there is something to do next.
func (s *Service) putState(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, st *state) error {
	it := Item{Object: o}
	if o.Current != "" {
		var err error
		if it.Version, err = tx.Version(ctx, o.ID, o.Current); err != nil {
			return err
		}
	}
	return st.put(ctx, tx, v, o, st.due(it))
}

// giveUp tells an issuer that nobody waits any more. It need not succeed: an order that nobody asks after ends by itself.
func (s *Service) giveUp(ctx context.Context, v *vault.Vault, o *vault.Object, st *state) {
	if st.Operation.Token == nil {
		return // there is no order yet
	}
	by, err := s.issuer(ctx, v, o.Name, st.Operation.Issuer)
	canceller, ok := by.(issuer.Canceller)
	if err == nil && !ok {
		return
	}
	var r issuer.Request
	if err == nil {
		r, err = st.request(nil)
	}
	if err == nil {
		err = canceller.Cancel(ctx, r, st.Operation.Token)
	}
	if err != nil {
		s.Logger.InfoContext(ctx, "an order for a certificate was not given up at its issuer", "certificate", o.Name, "vault", v.Name, "error", err)
	}
}

// Merge completes an operation with the certificates that an authority gave for its request, in any order. It takes an operation whose issuer is a person, or one that failed or
// was cancelled. Tags and enabled, when given, take the place of those with which it began.
func (s *Service) Merge(ctx context.Context, call *guard.Call, name string, certificates []*x509.Certificate, in Input) (Item, error) {
	if err := CheckName(name); err != nil {
		return Item{}, err
	}
	need := guard.Need{Action: authz.CertificateUpdate, Kind: vault.Certificate, Name: name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	o, st, chain, err := s.merging(ctx, v, name, certificates)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	made := *st.Operation
	st.Operation = &made
	if in.Tags != nil {
		made.Tags = maps.Clone(in.Tags)
	}
	if in.Enabled != nil {
		made.Enabled = *in.Enabled
	}
	need.Version = made.Version
	b, secret, err := s.sealSecret(ctx, v, o.Name, st, chain, op)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	var it Item
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		if err := s.finish(ctx, tx, v, o.ID, st, b, secret, op); err != nil {
			return err
		}
		it, err = s.current(ctx, tx, v, name)
		return err
	})
	return it, err
}

// merging finds the operation that a merge completes, and the chain that belongs to its request.
func (s *Service) merging(ctx context.Context, v *vault.Vault, name string, certificates []*x509.Certificate) (o *vault.Object, st *state, chain []*x509.Certificate, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		o, st, err = s.operating(ctx, tx, v, name, "")
		return err
	})
	if err != nil {
		return nil, nil, nil, err
	}
	made := st.Operation
	switch {
	case made.Status == Completed:
		return nil, nil, nil, fault.New(fault.NotFound, "the operation on the certificate %q is completed: create the certificate to begin another", o.Name).Because(NoOperation)
	case made.Status == InProgress && !made.Issuer.Is(UnknownIssuer):
		return nil, nil, nil, fault.New(fault.Forbidden, "the issuer %s is making the certificate %q: cancel the operation before you merge another certificate", made.Issuer.Name, o.Name)
	}
	// Who takes a run's request to an authority outside may merge what that gives.
	run := ""
	if st.Lineage != nil {
		run = st.Lineage.Run
	}
	if err := s.maySucceed(ctx, &plan{object: o, state: st}, run); err != nil {
		return nil, nil, nil, err
	}
	person, err := s.issuer(ctx, v, name, IssuerRef{Name: UnknownIssuer})
	if err != nil {
		return nil, nil, nil, err
	}
	merger, ok := person.(issuer.Merger)
	if !ok {
		return nil, nil, nil, fault.New(fault.Internal, "the issuer %s takes no certificates", UnknownIssuer)
	}
	r, err := st.request(nil)
	if err != nil {
		return nil, nil, nil, err
	}
	result, err := merger.Merge(ctx, r, certificates)
	return o, st, result.Chain, err
}

// ParseChain reads the certificates of a merge: each element is one in DER, or a chain in PKCS#7, as authorities hand them out.
func ParseChain(list [][]byte) (chain []*x509.Certificate, err error) {
	if len(list) == 0 || len(list) > certfile.MaxCertificates {
		return nil, fault.New(fault.Invalid, "x5c is to have 1 to %d certificates", certfile.MaxCertificates)
	}
	for i, element := range list {
		found, err := certfile.ReadCertificates(element)
		if err != nil {
			return nil, fault.New(fault.Invalid, "certificate %d of x5c cannot be read: each is a certificate in DER, or a chain in PKCS#7", i+1)
		}
		if chain = append(chain, found...); len(chain) > certfile.MaxCertificates {
			return nil, fault.New(fault.TooLarge, "x5c holds more than %d certificates: give the chain alone", certfile.MaxCertificates)
		}
	}
	return chain, nil
}
