package secret

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/vault"
)

// Get returns the selected version and its value, appended to dst. A disabled version is a fault.Forbidden with reason
// SecretDisabled. The caller zeroes the value when it has been sent.
func (s *Service) Get(ctx context.Context, call *guard.Call, sel Selector, dst []byte) (Item, []byte, error) {
	if err := vault.CheckObjectName(sel.Name); err != nil {
		return Item{}, dst, err
	}
	need := guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: sel.Name}
	var item Item
	err := s.Guard.Read(ctx, call, &need, func() error {
		rec, err := s.objects.Record(ctx, call, &sel)
		if err != nil {
			return err
		}
		item = rec.Item
		need.Name, need.Version = item.Object.Name, item.Version.ID
		if !item.Version.Attributes.Enabled {
			return fault.New(fault.Forbidden, "the operation get is not allowed on a disabled secret: enable version %s of %q first",
				item.Version.ID, item.Object.Name).Because("SecretDisabled")
		}
		dst, err = rec.Open(ctx, s.Keys, dst)
		return err
	})
	return item, dst, err
}

// Meant returns a secret with the version that the caller would read now who names none, for whoever tells callers of changes. The
// version is nil when there is nothing to read: the secret is deleted, or has no current version yet. Without a trace of the name the
// object is nil too. It neither authorises nor records: the guard has admitted the caller to this secret, and no value is opened.
func (s *Service) Meant(ctx context.Context, call *guard.Call, name string) (Item, error) {
	return s.objects.Meant(ctx, call, name)
}
