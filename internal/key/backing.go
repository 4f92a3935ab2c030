package key

import (
	"context"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Backing is what the service of certificates does with the keys that stand behind them. Like the moves in it, it authorises and records nothing, and no
// door has it.
type Backing struct {
	object.Moves
	service *Service
}

// Backing returns the keys behind certificates.
func (s *Service) Backing() Backing { return Backing{s.objects.Moves(true), s} }

// Made is a key that is about to be a version behind a certificate: in memory, or in the token. Store keeps it, and Discard gives it up.
type Made struct {
	*fresh
	// before is true of a key that is a version already, and stays one whatever becomes of this.
	before bool
}

// Key computes with it.
func (m *Made) Key() *cryptokey.Key { return m.key }

// Token is the label of the token that keys of -HSM types are made in; empty where there is none.
func (b Backing) Token() string {
	if b.service.Token == nil {
		return ""
	}
	return b.service.Token.Name()
}

// Make makes a key within the bound for the making of keys: in the token, when one of an -HSM type is asked for that does not leave. A key that comes after one
// in a token is not made outside, because the server was started without it: that is a fault.Unavailable. before is nil for a first version.
func (b Backing) Make(ctx context.Context, call *guard.Call, spec cryptokey.Spec, hsm, exportable bool, before *vault.Version) (*Made, error) {
	if hsm && !exportable && b.service.Token == nil && before != nil {
		f, err := Describe(before)
		if err == nil && f.Token != "" {
			err = unbound(f.Token)
		}
		if err != nil {
			return nil, err
		}
	}
	if exportable {
		k, err := b.service.generate(ctx, call, spec, hsm)
		return made(&fresh{key: k, hsm: hsm}, err)
	}
	return made(b.service.make(ctx, call, spec, hsm, false))
}

// Bring takes a key that was made elsewhere to where it belongs, like Make.
func (b Backing) Bring(ctx context.Context, k *cryptokey.Key, hsm, exportable bool) (*Made, error) {
	if exportable {
		return made(&fresh{key: k, hsm: hsm}, nil)
	}
	return made(b.service.bring(ctx, k, nil, hsm, false))
}

func made(f *fresh, err error) (*Made, error) {
	if err != nil {
		return nil, err
	}
	return &Made{fresh: f}, nil
}

// Again is the key of a version for another one of the same certificate. It is nil when that is to be a key of another kind.
func (b Backing) Again(ctx context.Context, v *vault.Vault, ver *vault.Version, spec cryptokey.Spec, hsm bool) (*Made, error) {
	p, h, err := b.open(ctx, v, ver)
	if err != nil {
		return nil, err
	}
	if moves := p.facts.HSM != hsm && (p.facts.Token != "" || b.service.Token != nil); moves || p.key.Spec() != spec {
		return nil, nil
	}
	return &Made{fresh: &fresh{key: p.key, hsm: hsm, held: h}, before: true}, nil
}

// Draft makes the draft of a version for the operations of those names. The caller zeroes its value.
func (b Backing) Draft(m *Made, ops []string) (*object.Draft, error) {
	in := Input{Ops: ops}
	facts, err := in.facts(m.key, m.hsm)
	if err != nil {
		return nil, err
	}
	return newDraft(context.Background(), m.fresh, facts)
}

// Store adds a sealed version, like Add, and says whose the key in the token is from now on.
func (b Backing) Store(ctx context.Context, tx store.Tx, v *vault.Vault, name string, ver *vault.Version, m *Made, pending bool) error {
	if err := b.Add(ctx, tx, v, name, ver, pending); err != nil || m.before {
		return err
	}
	return m.keep(ctx, tx, ver.Object)
}

// Discard destroys at once what will not be stored. What it cannot reach is left to SweepToken.
func (b Backing) Discard(ctx context.Context, m *Made) {
	if m == nil || m.before {
		return
	}
	if err := b.service.discard(ctx, m.fresh); err != nil {
		b.service.Logger.WarnContext(ctx, "a key that was not stored could not be destroyed in its token yet; it is tried again", "error", err)
	}
}

// Purged destroys, in the token too, what a purged certificate left there. A token that is away keeps it until it is back.
func (b Backing) Purged(ctx context.Context, name string) { b.service.sweepPurged(ctx, name) }

// Key returns the key of a version, whatever its label.
func (b Backing) Key(ctx context.Context, v *vault.Vault, ver *vault.Version) (*cryptokey.Key, error) {
	p, _, err := b.open(ctx, v, ver)
	if err != nil {
		return nil, err
	}
	return p.key, nil
}

// open reads a version, and where in a token its private half is; nil for one in the store.
func (b Backing) open(ctx context.Context, v *vault.Vault, ver *vault.Version) (*parsed, *held, error) {
	value, err := b.Open(ctx, v, ver)
	defer clear(value)
	if err != nil {
		return nil, nil, err
	}
	p, err := b.service.parseValue(ver, value)
	if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Gone) {
		return nil, nil, err // its token is away, or has it no more
	}
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Internal, "the key of a certificate cannot be read")
	}
	if value[0] != inToken {
		return p, nil, nil
	}
	h, err := parseHeld(value)
	return p, &h, err
}
