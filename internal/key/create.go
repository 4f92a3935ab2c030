package key

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Input is what a new version of a key is to be, beside the key itself.
type Input struct {
	// Ops are the words of key_ops; nil means those that the type of key usually has.
	Ops                []string
	Tags               map[string]string
	Enabled            bool
	NotBefore, Expires time.Time
	// Exportable keys may be released as the policy says, which they need.
	Exportable bool
	Release    *ReleasePolicy

	// first refuses to make anything but the first version of a key, with an object.ErrMoved; policy, when not nil, becomes the new key's rotation policy.
	first  bool
	policy *Policy
}

// Spec says which key is to be made, in the words of the protocol.
type Spec struct {
	// Kty is the type, with -HSM or without.
	Kty string
	// Bits is the size; 0 means the usual one.
	Bits int
	// Curve is the curve of an EC key, or the algorithm of an AKP one; empty means P-256.
	Curve string
	// Exponent is the public exponent of an RSA key; 0 means 65537.
	Exponent int
}

func (sp *Spec) engine() (spec cryptokey.Spec, hsm bool, err error) {
	spec.Type, hsm, err = cryptokey.ParseType(sp.Kty)
	if err != nil {
		return spec, hsm, err
	}
	spec.Bits, spec.Exponent = sp.Bits, sp.Exponent
	if spec.Type == cryptokey.AKP {
		spec.Set = cryptokey.ParameterSet(sp.Curve)
	} else {
		spec.Curve = cryptokey.Curve(sp.Curve)
	}
	spec, err = spec.Complete()
	return spec, hsm, err
}

// Create makes a key and stores it as the newest version under the name. A deleted key of that name is a fault.Conflict with reason
// ObjectIsDeletedButRecoverable.
func (s *Service) Create(ctx context.Context, call *guard.Call, name string, sp Spec, in Input) (Item, error) {
	need := guard.Need{Action: authz.KeyCreate, Kind: vault.Key, Name: name}
	return s.create(ctx, call, need, sp, &in)
}

// create makes a key under the need.
func (s *Service) create(ctx context.Context, call *guard.Call, need guard.Need, sp Spec, in *Input) (Item, error) {
	return s.add(ctx, call, need, in, func() (*fresh, error) {
		spec, hsm, err := sp.engine()
		if err != nil {
			return nil, err
		}
		return s.make(ctx, call, spec, hsm, in.Exportable)
	})
}

// Import stores a key that was made elsewhere, like Create. The JWK's key_ops are kept as they are. Import takes the JWK's private members and zeroes them.
func (s *Service) Import(ctx context.Context, call *guard.Call, name string, jwk *cryptokey.JWK, hsm bool, in Input) (Item, error) {
	defer jwk.Zero()
	if jwk.KeyOps != nil {
		in.Ops = jwk.KeyOps
	}
	need := guard.Need{Action: authz.KeyImport, Kind: vault.Key, Name: name}
	return s.add(ctx, call, need, &in, func() (*fresh, error) {
		_, asked, err := cryptokey.ParseType(jwk.Kty)
		if err != nil {
			return nil, err
		}
		if len(jwk.KeyHSM) > 0 {
			k, err := s.receive(ctx, call, jwk)
			return s.bring(ctx, k, err, true, in.Exportable)
		}
		k, err := jwk.PrivateKey()
		return s.bring(ctx, k, err, hsm || asked, in.Exportable)
	})
}

// ImportPKCS8 stores a key that is an unencrypted PrivateKeyInfo in DER (RFC 5958), like Import.
func (s *Service) ImportPKCS8(ctx context.Context, call *guard.Call, name string, der []byte, hsm bool, in Input) (Item, error) {
	need := guard.Need{Action: authz.KeyImport, Kind: vault.Key, Name: name}
	return s.add(ctx, call, need, &in, func() (*fresh, error) {
		k, err := cryptokey.ParsePKCS8(der)
		return s.bring(ctx, k, err, hsm, in.Exportable)
	})
}

// receive opens a key that was wrapped for a key of the same vault, which has the operation import: bring your own key. The private key of the
// sender is in clear nowhere on its way.
func (s *Service) receive(ctx context.Context, call *guard.Call, jwk *cryptokey.JWK) (*cryptokey.Key, error) {
	t, _, err := cryptokey.ParseType(jwk.Kty)
	if err != nil {
		return nil, err
	}
	blob, err := cryptokey.ParseTransferBlob(jwk.KeyHSM)
	if err != nil {
		return nil, err
	}
	sel, err := exchangeKey(blob.Header.Kid)
	if err != nil {
		return nil, err
	}
	rec, err := s.objects.Record(ctx, call, &sel)
	if err != nil {
		return nil, err
	}
	p, err := s.parse(ctx, rec)
	if err != nil {
		return nil, err
	}
	if err := usable(rec.Item, p.facts, cryptokey.Import, false, call.Started); err != nil {
		return nil, err
	}
	// It is a use of that key too, and recorded as one.
	need := guard.Need{Action: authz.KeyImport, Kind: vault.Key, Name: rec.Object.Name, Version: rec.Version.ID, Detail: string(blob.Header.Enc)}
	if err := s.Guard.Record(ctx, call, &need); err != nil {
		return nil, err
	}
	return p.key.Receive(t, blob.Header.Enc, blob.Ciphertext)
}

// exchangeKey reads which key a blob was wrapped for: the last two parts of its id are the name and the version.
func exchangeKey(kid string) (sel Selector, err error) {
	parts := strings.Split(kid, "/")
	if n := len(parts); n >= 3 && parts[n-3] == "keys" && vault.CheckObjectName(parts[n-2]) == nil {
		sel.Name = parts[n-2]
		if sel.Version, err = vault.ParseVersionID(parts[n-1]); err == nil {
			return sel, nil
		}
	}
	return sel, fault.New(fault.Invalid, "the kid of the transfer blob is not the id of a version of a key in this vault")
}

// add authorises the need, gets a key and stores it.
func (s *Service) add(ctx context.Context, call *guard.Call, need guard.Need, in *Input, get func() (*fresh, error)) (Item, error) {
	if err := vault.CheckObjectName(need.Name); err != nil {
		return Item{}, err
	}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	if err := in.check(); err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	f, err := get()
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	facts, err := in.facts(f.key, f.hsm)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, errors.Join(err, s.discard(ctx, f)))
	}
	draft, err := newDraft(ctx, f, facts)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	defer clear(draft.Value)
	draft.Tags, draft.Enabled, draft.NotBefore, draft.Expires = in.Tags, in.Enabled, in.NotBefore, in.Expires
	if in.first {
		draft.Check = firstAlone
	}
	if in.policy != nil {
		draft.Beside = func(tx store.Tx, stored Item) error {
			_, err := in.policy.put(ctx, tx, call.Vault.Vault, stored, nil, stored.Version.Attributes.Created)
			return err
		}
	}
	return s.objects.Add(ctx, call, need, need.Name, draft)
}

// firstAlone refuses a version behind another.
func firstAlone(o *vault.Object) error {
	if err := o.CheckLive(); err != nil {
		return err
	}
	if o.Current != "" {
		return object.ErrMoved
	}
	return nil
}

// newDraft makes the draft of a key. The caller zeroes its value.
func newDraft(ctx context.Context, f *fresh, facts *Facts) (*object.Draft, error) {
	facts.Token, facts.Hardware = "", false
	if f.held != nil {
		facts.Token, facts.Hardware = f.held.token, f.held.hardware
	}
	doc, err := facts.encode()
	if err != nil {
		return nil, err
	}
	value, err := f.sealable(facts.Exportable)
	return &object.Draft{Value: value, Doc: doc, Beside: func(tx store.Tx, stored object.Item) error { return f.keep(ctx, tx, stored.Object.ID) }}, err
}

// make makes a key where it belongs: one that is to be in hardware in the token, if the server is bound to one.
func (s *Service) make(ctx context.Context, call *guard.Call, spec cryptokey.Spec, hsm, exportable bool) (*fresh, error) {
	t, err := s.tokenFor(hsm, exportable)
	if err != nil {
		return nil, err
	}
	if t == nil {
		k, err := s.generate(ctx, call, spec, hsm)
		return &fresh{key: k, hsm: hsm}, err
	}
	var f *fresh
	err = s.oneOfFew(ctx, call, hsm, func() (err error) {
		f, err = s.intoToken(ctx, t, false, func(id []byte) (*cryptokey.Key, error) { return t.Generate(spec, id) })
		return err
	})
	return f, err
}

// bring takes a key, or the error that there is none, to where it belongs.
func (s *Service) bring(ctx context.Context, k *cryptokey.Key, err error, hsm, exportable bool) (*fresh, error) {
	if err != nil {
		return nil, err
	}
	t, err := s.tokenFor(hsm, exportable)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return &fresh{key: k, hsm: hsm}, nil
	}
	return s.intoToken(ctx, t, true, func(id []byte) (*cryptokey.Key, error) { return t.Import(k, id) })
}

// generate makes a key in memory.
func (s *Service) generate(ctx context.Context, call *guard.Call, spec cryptokey.Spec, hsm bool) (k *cryptokey.Key, err error) {
	err = s.oneOfFew(ctx, call, hsm, func() (err error) {
		k, err = cryptokey.Generate(spec)
		return err
	})
	return k, err
}

// oneOfFew makes a bounded number of keys at once.
func (s *Service) oneOfFew(ctx context.Context, call *guard.Call, hsm bool, work func() error) error {
	if err := s.Guard.Charge(call, creationWeight(hsm)); err != nil {
		return err
	}
	select {
	case s.making <- struct{}{}:
	case <-ctx.Done():
		return fault.Wrap(ctx.Err(), fault.Unavailable, "the server makes as many keys at once as it may: try again")
	}
	defer func() { <-s.making }()
	return work()
}

// Limits of the tags of keys: the Key Vault documentation.
const maxTagBytes = 256

func (in *Input) check() error {
	if err := checkTags(in.Tags); err != nil {
		return err
	}
	return vault.Attributes{NotBefore: in.NotBefore, Expires: in.Expires}.Check()
}

func checkTags(tags map[string]string) error {
	for k, v := range tags {
		if len(k) > maxTagBytes || len(v) > maxTagBytes {
			return fault.New(fault.Invalid, "tag %q is too long: names and values of the tags of keys have at most %d bytes", fault.Clip(k), maxTagBytes)
		}
	}
	return vault.CheckTags(tags)
}

func (in *Input) facts(k *cryptokey.Key, hsm bool) (*Facts, error) {
	spec := k.Spec()
	f := &Facts{Public: k.PublicJWK(), Bits: spec.Bits, HSM: hsm, Exportable: in.Exportable, Release: in.Release}
	if in.Ops == nil {
		f.Ops = narrowed(spec.DefaultOps(), in.Tags)
	} else {
		ops, err := cryptokey.ParseOps(in.Ops)
		if err != nil {
			return nil, err
		}
		f.Ops = ops
	}
	return f, f.check(in.Tags)
}

// check reports whether the facts of a version agree with each other and with its tags.
func (f *Facts) check(tags map[string]string) error {
	switch {
	case f.Exportable && !f.HSM:
		return fault.New(fault.Invalid, "only keys of an -HSM type can be exportable: ask for kty %s-HSM", f.Public.Kty)
	case f.Exportable && f.Release == nil:
		return fault.New(fault.Invalid, "an exportable key needs a release policy, which says to whom it may be released")
	case !f.Exportable && f.Release != nil:
		return fault.New(fault.Invalid, "a release policy is for exportable keys: set the attribute exportable when the key is made")
	case !f.Exportable && f.Ops.Has(cryptokey.Export):
		return fault.New(fault.Invalid, "the operation export is for exportable keys")
	}
	if f.Release != nil {
		if err := f.Release.check(); err != nil {
			return err
		}
	}
	return checkPurpose(f.Ops, tags)
}
