package key

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/vault"
)

// operation says what a use of a key takes.
type operation struct {
	// action is what it takes for a symmetric key, public for one whose public half suffices.
	action, public authz.Action
	// dated uses are refused outside of the time for which the key is: they make what must stand afterwards. What was made in that time can still be
	// opened and verified.
	dated bool
}

var operations = map[cryptokey.Op]operation{
	cryptokey.Sign:      {authz.KeySign, authz.KeySign, true},
	cryptokey.Verify:    {authz.KeyVerify, authz.KeyVerifyPublic, false},
	cryptokey.Encrypt:   {authz.KeyEncrypt, authz.KeyEncryptPublic, true},
	cryptokey.Decrypt:   {authz.KeyDecrypt, authz.KeyDecrypt, false},
	cryptokey.WrapKey:   {authz.KeyWrap, authz.KeyWrapPublic, true},
	cryptokey.UnwrapKey: {authz.KeyUnwrap, authz.KeyUnwrap, false},
}

// Sign signs a digest with the selected version. A key that is disabled, or outside of its time, or not for signing is a fault.Forbidden with a
// reason; an algorithm that the key cannot do, or a digest of the wrong length, is a fault.Invalid. So it is for every use.
func (s *Service) Sign(ctx context.Context, call *guard.Call, sel Selector, alg cryptokey.Algorithm, digest []byte) (item Item, signature []byte, err error) {
	item, err = s.use(ctx, call, &sel, cryptokey.Sign, alg, func(k *cryptokey.Key) (err error) {
		signature, err = k.Sign(alg, digest)
		return err
	})
	return item, signature, err
}

// Verify reports whether a signature is one of the digest.
func (s *Service) Verify(ctx context.Context, call *guard.Call, sel Selector, alg cryptokey.Algorithm, digest, signature []byte) (item Item, valid bool, err error) {
	item, err = s.use(ctx, call, &sel, cryptokey.Verify, alg, func(k *cryptokey.Key) (err error) {
		valid, err = k.Verify(alg, digest, signature)
		return err
	})
	return item, valid, err
}

// Encrypt encrypts a value.
func (s *Service) Encrypt(ctx context.Context, call *guard.Call, sel Selector, alg cryptokey.Algorithm, in cryptokey.Input) (item Item, out cryptokey.Output, err error) {
	item, err = s.use(ctx, call, &sel, cryptokey.Encrypt, alg, func(k *cryptokey.Key) (err error) {
		out, err = k.Encrypt(alg, in)
		return err
	})
	return item, out, err
}

// Decrypt returns what was encrypted. The caller zeroes it.
func (s *Service) Decrypt(ctx context.Context, call *guard.Call, sel Selector, alg cryptokey.Algorithm, in cryptokey.Input) (item Item, plain []byte, err error) {
	item, err = s.use(ctx, call, &sel, cryptokey.Decrypt, alg, func(k *cryptokey.Key) (err error) {
		plain, err = k.Decrypt(alg, in)
		return err
	})
	return item, plain, err
}

// WrapKey encrypts a key.
func (s *Service) WrapKey(ctx context.Context, call *guard.Call, sel Selector, alg cryptokey.Algorithm, in cryptokey.Input) (item Item, out cryptokey.Output, err error) {
	item, err = s.use(ctx, call, &sel, cryptokey.WrapKey, alg, func(k *cryptokey.Key) (err error) {
		out, err = k.WrapKey(alg, in)
		return err
	})
	return item, out, err
}

// UnwrapKey returns the key that was wrapped. The caller zeroes it.
func (s *Service) UnwrapKey(ctx context.Context, call *guard.Call, sel Selector, alg cryptokey.Algorithm, in cryptokey.Input) (item Item, plain []byte, err error) {
	item, err = s.use(ctx, call, &sel, cryptokey.UnwrapKey, alg, func(k *cryptokey.Key) (err error) {
		plain, err = k.UnwrapKey(alg, in)
		return err
	})
	return item, plain, err
}

// use is one use of the selected version. What a symmetric key can do takes the action itself; of the others everybody who may read the key has the
// public half, and so may do what that suffices for.
func (s *Service) use(ctx context.Context, call *guard.Call, sel *Selector, op cryptokey.Op, alg cryptokey.Algorithm, work func(*cryptokey.Key) error) (Item, error) {
	if err := vault.CheckObjectName(sel.Name); err != nil {
		return Item{}, err
	}
	o := operations[op]
	need := guard.Need{Action: o.public, Kind: vault.Key, Name: sel.Name, Version: sel.Version}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	rec, err := s.objects.Record(ctx, call, sel)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	need.Name, need.Version = rec.Object.Name, rec.Version.ID
	p, err := s.parse(ctx, rec)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	if p.facts.symmetric() {
		need.Action = o.action
	}
	return rec.Item, s.Guard.Read(ctx, call, &need, func() error {
		if err := usable(rec.Item, p.facts, op, o.dated, call.Started); err != nil {
			return err
		}
		spec := p.key.Spec()
		if err := spec.Check(alg, op); err != nil {
			return err
		}
		need.Detail = string(alg)
		if err := s.Guard.Charge(call, useWeight(spec, p.facts.HSM)); err != nil {
			return err
		}
		return work(p.key)
	})
}

// usable reports whether the version may be used so now.
func usable(it Item, f *Facts, op cryptokey.Op, dated bool, now time.Time) error {
	a := &it.Version.Attributes
	switch {
	case !a.Enabled:
		return fault.New(fault.Forbidden, "the operation %s is not allowed on a disabled key: enable version %s of %q first", op, it.Version.ID, it.Object.Name).
			Because("KeyDisabled")
	case dated && !a.NotBefore.IsZero() && now.Before(a.NotBefore):
		return fault.New(fault.Forbidden, "the operation %s is not allowed before the key %q is valid, at %s", op, it.Object.Name, a.NotBefore.UTC().Format(time.RFC3339)).
			Because("KeyNotYetValid")
	case dated && !a.Expires.IsZero() && !now.Before(a.Expires):
		return fault.New(fault.Forbidden, "the operation %s is not allowed: the key %q expired at %s; rotate it", op, it.Object.Name, a.Expires.UTC().Format(time.RFC3339)).
			Because("KeyExpired")
	}
	return f.Ops.Require(op)
}

// The weights of operations against the rate of a vault, from the table of service limits of Key Vault: in the time of 4000 ordinary requests it takes
// 2000 with an HSM's keys, 1000 with RSA of 3072 bits, 500 with RSA of 4096 bits, and makes 20 keys, or 10 in an HSM.
func useWeight(spec cryptokey.Spec, hsm bool) int {
	weight := 1
	switch {
	case spec.Type == cryptokey.RSA && spec.Bits > 3072:
		weight = 8
	case spec.Type == cryptokey.RSA && spec.Bits > 2048:
		weight = 4
	}
	if hsm {
		weight *= 2
	}
	return weight
}

func creationWeight(hsm bool) int {
	if hsm {
		return 400
	}
	return 200
}
