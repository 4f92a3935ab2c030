package key

import (
	"context"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
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

// Generate makes a key in memory, within the bound for the making of keys: what stands behind a certificate is in no token.
func (b Backing) Generate(ctx context.Context, call *guard.Call, spec cryptokey.Spec, hsm bool) (*cryptokey.Key, error) {
	return b.service.generate(ctx, call, spec, hsm)
}

// Draft makes the draft of a key for the operations of those names. The caller zeroes its value.
func (b Backing) Draft(k *cryptokey.Key, hsm bool, ops []string) (*object.Draft, error) {
	in := Input{Ops: ops}
	facts, err := in.facts(k, hsm)
	if err != nil {
		return nil, err
	}
	return newDraft(context.Background(), &fresh{key: k, hsm: hsm}, facts)
}

// Key returns the key of a version, whatever its label.
func (b Backing) Key(ctx context.Context, v *vault.Vault, ver *vault.Version) (*cryptokey.Key, error) {
	value, err := b.Open(ctx, v, ver)
	defer clear(value)
	if err != nil {
		return nil, err
	}
	p, err := b.service.parseValue(ver, value)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the key of a certificate cannot be read")
	}
	return p.key, nil
}
