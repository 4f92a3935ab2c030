package cert

import (
	"context"
	"encoding/json"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// backup is what a blob holds before it is sealed: the three sides, each as a backup of its own kind, and the policy.
type backup struct {
	Format      int             `json:"format"`
	Certificate json.RawMessage `json:"certificate"`
	Key         json.RawMessage `json:"key"`
	Secret      json.RawMessage `json:"secret"`
	Policy      *Policy         `json:"policy,omitempty"`
}

const backupFormat = 1

func (b *backup) clear() {
	clear(b.Certificate)
	clear(b.Key)
	clear(b.Secret)
}

// Backup returns a sealed blob with every version of a certificate, of its key and of its secret. Only a vault of the same tenant and subscription can restore it.
func (s *Service) Backup(ctx context.Context, call *guard.Call, name string) (blob []byte, err error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.CertificateBackup, Kind: vault.Certificate, Name: name}
	err = s.Guard.Read(ctx, call, &need, func() error {
		v := call.Vault.Vault
		b := backup{Format: backupFormat}
		defer b.clear()
		if err := s.collect(ctx, v, name, &b); err != nil {
			return err
		}
		plain, err := json.Marshal(&b)
		if err != nil {
			return err
		}
		defer clear(plain)
		ids, err := s.partsOf(ctx, v, name)
		if err != nil {
			return err
		}
		blob, err = s.Sealing.SealBackup(ctx, v.Tenant, v.ID, plain, ids...)
		return err
	})
	return blob, err
}

// partsOf are the ids of a certificate, its key and its secret.
func (s *Service) partsOf(ctx context.Context, v *vault.Vault, name string) (ids []vault.ObjectID, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		ids = ids[:0]
		for _, kind := range []vault.Kind{vault.Certificate, vault.Key, vault.Secret} {
			o, err := tx.Object(ctx, v.ID, kind, name)
			if fault.Is(err, fault.NotFound) {
				continue
			}
			if err != nil {
				return err
			}
			ids = append(ids, o.ID)
		}
		return nil
	})
	return ids, err
}

// collect reads the parts of a backup. A version that comes meanwhile is in all of them or looked for again: the state's row changes with each.
func (s *Service) collect(ctx context.Context, v *vault.Vault, name string, b *backup) error {
	look := func() (st *state, err error) {
		err = s.Store.View(ctx, func(tx store.Tx) error {
			o, err := s.objects.Live(ctx, tx, v.ID, name)
			if err != nil {
				return err
			}
			if o.Current == "" {
				return fault.New(fault.Conflict, "the certificate %q has no version yet: back it up when its operation is completed", o.Name)
			}
			st, err = stateOf(ctx, tx, o.ID)
			return err
		})
		return st, err
	}
	for range maxTries {
		before, err := look()
		if err != nil {
			return err
		}
		b.clear()
		if b.Certificate, err = s.own.Copy(ctx, v, name); err != nil {
			return err
		}
		if b.Key, err = s.keys.Copy(ctx, v, name); err != nil {
			return err
		}
		if b.Secret, err = s.secrets.Copy(ctx, v, name); err != nil {
			return err
		}
		after, err := look()
		if err != nil {
			return err
		}
		if after.revision() == before.revision() {
			b.Policy = after.Policy
			return nil
		}
	}
	return fault.New(fault.Conflict, "the certificate %q was changed by others while it was backed up: try again", name)
}

// Restore brings a certificate back from its backup, with its key and its secret: same name, same versions, same instants. What stands under one of their
// names, live or deleted, is a fault.Conflict.
func (s *Service) Restore(ctx context.Context, call *guard.Call, blob []byte) (it Item, p *Policy, err error) {
	need := guard.Need{Action: authz.CertificateRestore, Kind: vault.Certificate}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, nil, err
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	refuse := func(err error) (Item, *Policy, error) { return Item{}, nil, s.Guard.Refuse(ctx, call, need, err) }
	b, err := s.open(ctx, v, blob)
	if err != nil {
		return refuse(err)
	}
	defer b.clear()
	name, putCertificate, err := s.own.Paste(ctx, v, op, b.Certificate)
	if err != nil {
		return refuse(err)
	}
	_, putKey, err := s.keys.Paste(ctx, v, op, b.Key)
	if err != nil {
		return refuse(err)
	}
	_, putSecret, err := s.secrets.Paste(ctx, v, op, b.Secret)
	if err != nil {
		return refuse(err)
	}
	need.Name = name
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		if _, err := putKey(tx); err != nil {
			return err
		}
		if _, err := putSecret(tx); err != nil {
			return err
		}
		if it, err = putCertificate(tx); err != nil {
			return err
		}
		st := state{Policy: b.Policy}
		p = b.Policy
		return st.put(ctx, tx, v, it.Object, st.due(it))
	})
	return it, p, err
}

func (s *Service) open(ctx context.Context, v *vault.Vault, blob []byte) (*backup, error) {
	bad := fault.New(fault.Invalid, "the backup cannot be restored here: it is damaged, or it was not made by this server for a certificate of this tenant")
	plain, err := s.Sealing.OpenBackup(ctx, v.Tenant, blob)
	if fault.Is(err, fault.Invalid) {
		return nil, bad
	}
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	var b backup
	if err := json.Unmarshal(plain, &b); err != nil || b.Format != backupFormat {
		return nil, bad
	}
	return &b, nil
}
