package key

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/vault"
)

// Get returns the selected version. A disabled key shows its public half too.
func (s *Service) Get(ctx context.Context, call *guard.Call, sel Selector) (item Item, err error) {
	if err := vault.CheckObjectName(sel.Name); err != nil {
		return Item{}, err
	}
	need := guard.Need{Action: authz.KeyGet, Kind: vault.Key, Name: sel.Name}
	err = s.Guard.Read(ctx, call, &need, func() error {
		rec, err := s.objects.Record(ctx, call, &sel)
		if err != nil {
			return err
		}
		item = rec.Item
		need.Name, need.Version = item.Object.Name, item.Version.ID
		return nil
	})
	return item, err
}

// Change is what to change of a version: a nil member stays as it is.
type Change struct {
	// Ops replaces the operations.
	Ops []string
	// Tags replaces the whole map.
	Tags               map[string]string
	Enabled            *bool
	NotBefore, Expires *time.Time
	// Exportable is fixed when a key is made: a change may only repeat it.
	Exportable *bool
	// Release replaces the release policy, unless that is immutable.
	Release *ReleasePolicy
}

// Update changes a version's operations, attributes, tags or release policy. Without a version in the selector it changes the current one.
func (s *Service) Update(ctx context.Context, call *guard.Call, sel Selector, ch Change) (Item, error) {
	if err := vault.CheckObjectName(sel.Name); err != nil {
		return Item{}, err
	}
	need := guard.Need{Action: authz.KeyUpdate, Kind: vault.Key, Name: sel.Name, Version: sel.Version}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	if err := checkTags(ch.Tags); err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	return s.objects.Change(ctx, call, need, sel, ch.apply)
}

func (ch *Change) apply(v *vault.Version) error {
	facts, err := Describe(v)
	if err != nil {
		return err
	}
	if ch.Exportable != nil && *ch.Exportable != facts.Exportable {
		return fault.New(fault.Invalid, "whether a key is exportable is fixed when it is made: make a new version with the attribute exportable")
	}
	if ch.Ops != nil {
		if facts.Ops, err = cryptokey.ParseOps(ch.Ops); err != nil {
			return err
		}
	}
	if ch.Release != nil {
		if facts.Release != nil && facts.Release.Immutable && !facts.Release.equal(ch.Release) {
			return fault.New(fault.Invalid, "the release policy of this key is immutable: make a new key with another policy")
		}
		facts.Release = ch.Release
	}
	if ch.Tags != nil {
		v.Tags = ch.Tags
	}
	if err := facts.check(v.Tags); err != nil {
		return err
	}
	v.Attributes = v.Attributes.With(ch.Enabled, ch.NotBefore, ch.Expires)
	v.Doc, err = facts.encode()
	return err
}

// MaxRandomBytes is the most that Random returns at once (Key Vault REST API, GetRandomBytes).
const MaxRandomBytes = 128

// Random returns random bytes.
func (s *Service) Random(ctx context.Context, call *guard.Call, n int) (b []byte, err error) {
	need := guard.Need{Action: authz.KeyRandom, Kind: vault.Key}
	err = s.Guard.Read(ctx, call, &need, func() error {
		if n < 1 || n > MaxRandomBytes {
			return fault.New(fault.Invalid, "count is to be from 1 to %d", MaxRandomBytes)
		}
		b = make([]byte, n)
		rand.Read(b)
		return nil
	})
	return b, err
}
