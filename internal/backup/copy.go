package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/vault"
)

// manifestName is the blob that makes a folder a copy, manifestFormat what its content says of itself, so that nothing else that was sealed passes for one.
const (
	manifestName   = "manifest"
	manifestFormat = "keywright vault copy 1"
)

// The largest blobs that are read, in bytes. A manifest has about 150 for each object.
const (
	maxManifestBytes = 256 << 20
	maxObjectBytes   = 64 << 20
)

// manifest says what is in a copy.
type manifest struct {
	Format       string               `json:"format"`
	Vault        string               `json:"vault"`
	Subscription vault.SubscriptionID `json:"subscription"`
	Taken        time.Time            `json:"taken"`
	Entries      []entry              `json:"entries"`
	// Skipped counts the objects that had no version to copy.
	Skipped int `json:"skipped,omitempty"`
}

type entry struct {
	Collection string `json:"collection"`
	Name       string `json:"name"`
	// SHA256 is the digest of the blob, in hexadecimal digits.
	SHA256 string `json:"sha256"`
}

func (e *entry) blob(folder string) string { return folder + "/" + e.Collection + "/" + e.Name }

// String says what a copy holds.
func (m *manifest) String() string {
	text := fmt.Sprintf("The copy of the vault %s of %s holds %d objects.", m.Vault, m.Taken.UTC().Format(time.RFC3339), len(m.Entries))
	if m.Skipped > 0 {
		text += fmt.Sprintf(" %d had no version yet and were left out.", m.Skipped)
	}
	return text
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// copyAll copies everything that the vault has when it comes to it. What is deleted meanwhile is left out.
func (s *Service) copyAll(ctx context.Context, call *guard.Call, to Container, folder string) (string, error) {
	v := call.Vault.Vault
	m := manifest{Format: manifestFormat, Vault: v.Name, Subscription: v.Subscription, Taken: s.Clock.Now().UTC()}
	for i := range s.kinds {
		if err := s.copyKind(ctx, call, to, folder, &s.kinds[i], &m); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(&m)
	if err != nil {
		return "", err
	}
	sealed, err := s.Sealing.SealBackup(ctx, v.Tenant, v.ID, text)
	if err != nil {
		return "", err
	}
	return m.String(), to.Put(ctx, folder+"/"+manifestName, sealed)
}

// listed is how many objects are listed at once.
const listed = 200

func (s *Service) copyKind(ctx context.Context, call *guard.Call, to Container, folder string, k *kind, m *manifest) error {
	for after := ""; ; {
		if err := s.renew(ctx, call); err != nil {
			return err
		}
		page, err := k.list(ctx, call, object.Page{After: after, Limit: listed})
		if err != nil {
			return err
		}
		for i := range page.Items {
			it := &page.Items[i]
			switch {
			case it.Object.Managed: // it is in its certificate's
			case it.Version == nil:
				m.Skipped++
			default:
				if err := s.copyOne(ctx, call, to, folder, k, it.Object.Name, m); err != nil {
					return err
				}
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

func (s *Service) copyOne(ctx context.Context, call *guard.Call, to Container, folder string, k *kind, name string, m *manifest) error {
	if err := s.renew(ctx, call); err != nil {
		return err
	}
	blob, err := k.copy(ctx, call, name)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("copying %s/%s: %w", k.collection, name, err)
	}
	e := entry{k.collection, name, digest(blob)}
	if err := to.Put(ctx, e.blob(folder), blob); err != nil {
		return err
	}
	m.Entries = append(m.Entries, e)
	return nil
}

// manifest reads what a copy holds.
func (s *Service) manifest(ctx context.Context, call *guard.Call, from Container, folder string) (*manifest, error) {
	sealed, err := from.Get(ctx, folder+"/"+manifestName, maxManifestBytes)
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.NotFound, "there is no whole backup in the folder %s of the container: its manifest, which comes last, is missing", folder)
	}
	if err != nil {
		return nil, err
	}
	bad := fault.New(fault.Invalid, "the backup in the folder %s cannot be restored here: its manifest is damaged, or of another tenant or installation", folder)
	text, err := s.Sealing.OpenBackup(ctx, call.Caller.Tenant, sealed)
	if fault.Is(err, fault.Invalid) {
		return nil, bad
	}
	if err != nil {
		return nil, err
	}
	var m manifest
	if json.Unmarshal(text, &m) != nil || m.Format != manifestFormat {
		return nil, bad
	}
	if v := call.Vault.Vault; m.Subscription != v.Subscription {
		return nil, fault.New(fault.Invalid, "the backup was made in another subscription: restore it into a vault of subscription %s", m.Subscription)
	}
	return &m, nil
}

// restoreAll brings back what is missing.
func (s *Service) restoreAll(ctx context.Context, call *guard.Call, from Container, folder string) (string, error) {
	m, err := s.manifest(ctx, call, from, folder)
	if err != nil {
		return "", err
	}
	done, there := 0, 0
	for i := range m.Entries {
		switch err := s.restoreOne(ctx, call, from, folder, &m.Entries[i]); {
		case err == nil:
			done++
		case fault.Is(err, fault.Conflict):
			there++
		default:
			return "", err
		}
	}
	text := fmt.Sprintf("%d objects were restored.", done)
	if there > 0 {
		text += fmt.Sprintf(" %d were there already, live or deleted, and were left as they are.", there)
	}
	return text, nil
}

// restoreKey brings one key back.
func (s *Service) restoreKey(ctx context.Context, call *guard.Call, from Container, folder, name string) error {
	m, err := s.manifest(ctx, call, from, folder)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(m.Entries, func(e entry) bool { return e.Collection == "keys" && vault.NameKey(e.Name) == vault.NameKey(name) })
	if i < 0 {
		return fault.New(fault.NotFound, "there is no key %q in the backup: a key that belongs to a certificate comes back with that", name)
	}
	return s.restoreOne(ctx, call, from, folder, &m.Entries[i])
}

func (s *Service) restoreOne(ctx context.Context, call *guard.Call, from Container, folder string, e *entry) error {
	i := slices.IndexFunc(s.kinds, func(k kind) bool { return k.collection == e.Collection })
	if i < 0 {
		return fault.New(fault.Invalid, "the backup holds %q, which are not known here: restore it with the version that made it", fault.Clip(e.Collection))
	}
	blob, err := from.Get(ctx, e.blob(folder), maxObjectBytes)
	if err != nil {
		return err
	}
	if digest(blob) != e.SHA256 {
		return fault.New(fault.Invalid, "the backup of %s/%s is not the one that was made: it was changed or put in another's place", e.Collection, e.Name)
	}
	if err := s.renew(ctx, call); err != nil {
		return err
	}
	return s.kinds[i].restore(ctx, call, blob)
}

// renew makes the call one of this instant: with the vault as it is now, so that what was withdrawn meanwhile does not count any more.
func (s *Service) renew(ctx context.Context, call *guard.Call) error {
	now := s.Clock.Now()
	if !call.Caller.Live(now) {
		return fault.New(fault.Forbidden, "who began it is not signed in any more, or its access was changed: begin it again, which passes over what is done")
	}
	view, err := s.Guard.View(ctx, call.Vault.Vault.Name)
	if err != nil {
		return err
	}
	if view.Vault.ID != call.Vault.Vault.ID {
		return fault.New(fault.NotFound, "the vault %q was replaced meanwhile: begin again", view.Vault.Name)
	}
	call.Vault, call.Started = view, now
	return nil
}
