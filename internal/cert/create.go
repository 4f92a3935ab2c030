package cert

import (
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// InProgressReason is the reason of the conflict when an operation on the certificate is in progress.
const InProgressReason fault.Reason = "CertificateOperationInProgress"

// Input is what a new version is to have beside what the policy says.
type Input struct {
	// Policy is the new policy of the certificate; nil keeps the one that it has.
	Policy *Policy
	Tags   map[string]string
	// Enabled is what the version is; nil leaves it to the policy.
	Enabled       *bool
	PreserveOrder bool
	// run is the change of an authority of which the version is a part; it has a key of its own, whatever the policy says.
	run string
}

// maxTries bounds how often a change is planned anew because the certificate changed meanwhile.
const maxTries = 5

// Create begins an operation that makes a version, and the certificate when there is none. What it returns is in progress, also where the issuer answers
// at once. While another operation is in progress it is a fault.Conflict with the reason InProgressReason.
func (s *Service) Create(ctx context.Context, call *guard.Call, name string, in Input) (*vault.Object, *Operation, error) {
	need := guard.Need{Action: authz.CertificateCreate, Kind: vault.Certificate, Name: name}
	if err := CheckName(name); err != nil {
		return nil, nil, err
	}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, nil, err
	}
	if err := vault.CheckTags(in.Tags); err != nil {
		return nil, nil, s.Guard.Refuse(ctx, call, need, err)
	}
	return s.begin(ctx, call, need, in, false)
}

// begin starts an operation under a need that is authorised, and lets an issuer that answers at once finish it.
func (s *Service) begin(ctx context.Context, call *guard.Call, need guard.Need, in Input, renewal bool) (*vault.Object, *Operation, error) {
	for range maxTries {
		o, op, err := s.beginOnce(ctx, call, &need, in, renewal)
		if errors.Is(err, object.ErrMoved) {
			continue
		}
		if err == nil {
			s.proceed(ctx, call.Vault.Vault, o)
		}
		return o, op, err
	}
	return nil, nil, s.Guard.Refuse(ctx, call, need, fault.New(fault.Conflict, "the certificate %q was changed by others while it was made: try again", need.Name))
}

func (s *Service) beginOnce(ctx context.Context, call *guard.Call, need *guard.Need, in Input, renewal bool) (*vault.Object, *Operation, error) {
	refuse := func(err error) (*vault.Object, *Operation, error) {
		return nil, nil, s.Guard.Refuse(ctx, call, *need, err)
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	pl, err := s.plan(ctx, v, need.Name, op)
	if err != nil {
		return refuse(err)
	}
	if err := s.maySucceed(ctx, pl, in.run); err != nil {
		return refuse(err)
	}
	policy, err := s.policyFor(pl, in.Policy)
	if err != nil {
		return refuse(err)
	}
	if in.run != "" {
		pl.current = nil // the key of an authority is never kept by its successor
	}
	if _, err := s.issuer(ctx, v, need.Name, policy.Issuer); err != nil {
		return refuse(err)
	}
	k, err := s.newKey(ctx, call, pl, policy)
	if err != nil {
		return refuse(err)
	}
	drop := func(err error) (*vault.Object, *Operation, error) {
		s.keys.Discard(ctx, k)
		return refuse(err)
	}
	csr, err := policy.X509.request(k.Key())
	if err != nil {
		return drop(err)
	}
	made := &Operation{Version: vault.NewVersionID(op.At), CSR: csr, Policy: policy, Issuer: policy.Issuer, Status: InProgress, Details: pendingDetails(policy.Issuer),
		PreserveOrder: in.PreserveOrder, Enabled: *policy.Enabled, Tags: maps.Clone(in.Tags), Started: op.At, Renewal: renewal, SecretObject: pl.secret}
	if in.Enabled != nil {
		made.Enabled = *in.Enabled
	}
	pair, err := s.sealPending(ctx, v, pl, made, k, op)
	if err != nil {
		return drop(err)
	}
	need.Version = made.Version
	var o *vault.Object
	err = s.Guard.Commit(ctx, call, *need, op, func(tx store.Tx) error {
		if err := s.still(ctx, tx, v, need.Name, pl); err != nil {
			return err
		}
		if err := s.dropPending(ctx, tx, v, need.Name, op); err != nil {
			return err
		}
		if err := s.own.Add(ctx, tx, v, need.Name, pair.certificate, true); err != nil {
			return err
		}
		if err := s.keys.Store(ctx, tx, v, need.Name, pair.key, k, true); err != nil {
			return err
		}
		if o, err = s.own.Find(ctx, tx, v.ID, need.Name); err != nil {
			return err
		}
		st := *pl.state
		st.Policy, st.Operation, st.Stalled = policy.stamped(st.Policy, op.At), made, nil
		return st.put(ctx, tx, v, o, op.At)
	})
	if errors.Is(err, object.ErrMoved) {
		s.keys.Discard(ctx, k)
	}
	return o, made, err
}

// plan is what stands under a name before a change of it.
type plan struct {
	certificate, key, secret vault.ObjectID
	// object is the certificate; nil for a new one.
	object *vault.Object
	state  *state
	// before is the current version of the key, nil when there is none. current is the same while its key may be kept for the next; exportable says whether
	// that key may leave.
	before, current *vault.Version
	exportable      bool
}

// plan looks at what stands under a name. An operation in progress is a conflict.
func (s *Service) plan(ctx context.Context, v *vault.Vault, name string, op store.Op) (*plan, error) {
	pl := &plan{state: &state{}}
	return pl, s.Store.View(ctx, func(tx store.Tx) (err error) {
		if pl.certificate, err = s.own.Plan(ctx, tx, v, name, op.At); err != nil {
			return err
		}
		if pl.key, err = s.keys.Plan(ctx, tx, v, name, op.At); err != nil {
			return err
		}
		if pl.secret, err = s.secrets.Plan(ctx, tx, v, name, op.At); err != nil {
			return err
		}
		pl.object, err = s.own.Find(ctx, tx, v.ID, name)
		if fault.Is(err, fault.NotFound) {
			pl.object = nil
			return nil
		}
		if err != nil {
			return err
		}
		if pl.state, err = stateOf(ctx, tx, pl.object.ID); err != nil {
			return err
		}
		if pl.state.running() {
			return inProgress(name)
		}
		return s.planKey(ctx, tx, v, pl)
	})
}

// maySucceed refuses a new version of an authority that only a run may make.
func (s *Service) maySucceed(ctx context.Context, pl *plan, run string) error {
	if pl.object == nil || pl.state.Lineage == nil {
		return nil
	}
	return s.Store.View(ctx, func(tx store.Tx) error { return s.refuseSuccessor(ctx, tx, pl.object, pl.state, run) })
}

// planKey finds the current version of the key, which the certificate's own says more of.
func (s *Service) planKey(ctx context.Context, tx store.Tx, v *vault.Vault, pl *plan) error {
	if pl.object.Current == "" {
		return nil
	}
	k, err := s.keys.Find(ctx, tx, v.ID, pl.object.Name)
	if fault.Is(err, fault.NotFound) || err == nil && k.Current == "" {
		return nil
	}
	if err != nil {
		return err
	}
	own, err := tx.Version(ctx, pl.object.ID, pl.object.Current)
	if err != nil {
		return err
	}
	f, err := Describe(own)
	if err != nil {
		return err
	}
	pl.exportable = f.Exportable
	pl.before, err = tx.Version(ctx, k.ID, k.Current)
	pl.current = pl.before
	return err
}

func inProgress(name string) error {
	return fault.New(fault.Conflict, "an operation on the certificate %q is in progress: wait for it, cancel it, or delete it first", name).Because(InProgressReason)
}

// still reports whether the name stands as it was planned: the state's row changes with whatever matters.
func (s *Service) still(ctx context.Context, tx store.Tx, v *vault.Vault, name string, pl *plan) error {
	o, err := s.own.Find(ctx, tx, v.ID, name)
	switch {
	case fault.Is(err, fault.NotFound):
		if pl.object != nil {
			return object.ErrMoved
		}
		return nil
	case err != nil:
		return err
	case pl.object == nil || o.ID != pl.object.ID || o.Revision != pl.object.Revision:
		return object.ErrMoved
	}
	st, err := stateOf(ctx, tx, o.ID)
	if err == nil && st.revision() != pl.state.revision() {
		err = object.ErrMoved
	}
	return err
}

// policyFor is the policy of a new version: the one that is given, completed, or the one that the certificate has.
func (s *Service) policyFor(pl *plan, given *Policy) (*Policy, error) {
	p := given
	if p == nil {
		p = pl.state.Policy
	}
	if p == nil {
		return nil, fault.New(fault.Invalid, "a certificate is made by a policy: give one, with an issuer and a subject")
	}
	p = p.clone()
	if given != nil {
		if err := s.placed(&p.Key); err != nil {
			return nil, err
		}
	}
	p.complete()
	return p, p.check()
}

// placed fills in that the key of a policy that somebody gives does not leave, where it is to be in a token, and refuses one that is to be in both. A policy from
// before the token was there is left as it is: its certificates go on to be renewed, with keys in the store.
func (s *Service) placed(k *KeyProps) error {
	token := s.keys.Token()
	if _, hsm, err := cryptokey.ParseType(k.Kty); err != nil || !hsm || token == "" {
		return nil // check says what is wrong with the type
	}
	if k.Exportable != nil && *k.Exportable {
		return fault.New(fault.Unsupported, "keys of the type %s are in the PKCS#11 token %q, which lets none out: make the policy's key not exportable, or of the type %s",
			k.Kty, token, strings.TrimSuffix(k.Kty, "-HSM"))
	}
	no := false
	k.Exportable = &no
	return nil
}

// newKey makes the key of a version, or takes the current one when the policy keeps it. A key that was not to leave is not kept by a policy that lets keys leave:
// whoever may change the policy would have it.
func (s *Service) newKey(ctx context.Context, call *guard.Call, pl *plan, p *Policy) (*key.Made, error) {
	_, hsm, err := cryptokey.ParseType(p.Key.Kty)
	if err != nil {
		return nil, err
	}
	spec, err := p.Key.spec().Complete()
	if err != nil {
		return nil, err
	}
	if *p.Key.Reuse && pl.current != nil && (pl.exportable || !*p.Key.Exportable) {
		k, err := s.keys.Again(ctx, call.Vault.Vault, pl.current, spec, hsm)
		if err != nil || k != nil {
			return k, err
		}
		// A key of another kind than the policy asks for now is not kept.
	}
	return s.keys.Make(ctx, call, spec, hsm, *p.Key.Exportable, pl.before)
}

// sealed are the versions that an operation or an import adds.
type sealed struct{ certificate, key, secret *vault.Version }

// sealPending makes the versions that wait for an issuer: of the certificate, without one, and of the key.
func (s *Service) sealPending(ctx context.Context, v *vault.Vault, pl *plan, made *Operation, k *key.Made, op store.Op) (pair sealed, err error) {
	p := made.Policy
	facts := Facts{ContentType: p.Secret.ContentType, PreserveOrder: made.PreserveOrder, Exportable: *p.Key.Exportable}
	doc, err := facts.encode()
	if err != nil {
		return pair, err
	}
	draft := &object.Draft{Doc: doc, Tags: made.Tags, Enabled: made.Enabled}
	if pair.certificate, err = s.own.Seal(ctx, v, pl.certificate, made.Version, op.At, draft); err != nil {
		return pair, err
	}
	pair.key, err = s.sealKey(ctx, v, pl.key, made.Version, k, p, draft, op)
	return pair, err
}

// sealKey makes a version of the key that is like the certificate's draft.
func (s *Service) sealKey(ctx context.Context, v *vault.Vault, o vault.ObjectID, id vault.VersionID, k *key.Made, p *Policy, like *object.Draft, op store.Op) (*vault.Version, error) {
	draft, err := s.keys.Draft(k, keyOps(p.X509.KeyUsage, k.Key().Spec()))
	if err != nil {
		return nil, err
	}
	defer clear(draft.Value)
	draft.Tags, draft.Enabled, draft.NotBefore, draft.Expires = like.Tags, like.Enabled, like.NotBefore, like.Expires
	return s.keys.Seal(ctx, v, o, id, op.At, draft)
}

// dropPending gives up what an operation that has ended left behind.
func (s *Service) dropPending(ctx context.Context, tx store.Tx, v *vault.Vault, name string, op store.Op) error {
	return errors.Join(s.own.Abandon(ctx, tx, v, name, op.At), s.keys.Abandon(ctx, tx, v, name, op.At))
}

func pendingDetails(ref IssuerRef) string {
	if ref.Is(UnknownIssuer) {
		return "Pending certificate created. Have the certificate request signed by an authority, and merge what it gives."
	}
	return "Pending certificate created. The request goes to the issuer " + ref.Name + "; ask again for its status."
}

// request is what the issuer is asked for.
func (st *state) request(previous *x509.Certificate) (r issuer.Request, err error) {
	op, p := st.Operation, st.making()
	csr, err := x509.ParseCertificateRequest(op.CSR)
	if err != nil {
		return r, err
	}
	bits, err := usages(p.X509.KeyUsage)
	if err != nil {
		return r, err
	}
	purposes, err := p.X509.purposes()
	return issuer.Request{ID: string(op.Version), CSR: csr, Profile: op.Issuer.Type, KeyUsage: bits, ExtKeyUsage: slices.Clip(purposes),
		NotAfter: op.Started.AddDate(0, p.X509.Months, 0), Previous: previous}, err
}
