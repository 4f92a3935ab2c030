package store

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// KeyNeeds keeps what hangs on keys of vaults beyond their own vault: who needs a key that customers keep, and which keys are in a token. Journal
// entries of its changes name no change.
type KeyNeeds interface {
	// KeyNeeds lists who needs the keys of a vault, or only the one key when it is named, in the order of the keys, those who need them, and the uses.
	KeyNeeds(ctx context.Context, in vault.ID, key vault.ObjectID) ([]*KeyNeed, error)
	// PutKeyNeed inserts a need or replaces the one of the same key, vault and use. An end never moves back, and having none is the latest.
	PutKeyNeed(ctx context.Context, n *KeyNeed) error
	// DropKeyNeeds removes the needs of a use that a vault has. That there are none is no error.
	DropKeyNeeds(ctx context.Context, by vault.ID, use KeyUse) error
	// EndedKeyNeeds lists needs that ended before an instant, in the order of the vaults, the keys, those who needed them, and the uses.
	EndedKeyNeeds(ctx context.Context, before time.Time, limit int) ([]*KeyNeed, error)
	// DropEndedKeyNeed removes a need, unless its end is not before the instant any more. That there is none is no error.
	DropEndedKeyNeed(ctx context.Context, n *KeyNeed, before time.Time) error

	// AddTokenKey inserts a key that is about to be made in a token. A taken id is a fault.Conflict.
	AddTokenKey(ctx context.Context, k *TokenKey) error
	// KeepTokenKey says to which object a key in a token belongs.
	KeepTokenKey(ctx context.Context, id string, o vault.ObjectID) error
	// StrayTokenKeys lists, in the order of their ids, keys in tokens that belong to no object any more, and those made before an instant that never
	// came to belong to one.
	StrayTokenKeys(ctx context.Context, madeBefore time.Time, limit int) ([]*TokenKey, error)
	DropTokenKey(ctx context.Context, id string) error
}

// KeyUse says what a key is needed for.
type KeyUse string

// The uses of a customer's key.
const (
	// NeededByVault: the vault's own key is wrapped with it.
	NeededByVault KeyUse = "vault"
	// NeededByBackups: backups of what the vault keeps open with it.
	NeededByBackups KeyUse = "backups"
	// NeededByFullBackups: backups of the whole installation open with it what the vault keeps.
	NeededByFullBackups KeyUse = "full-backups"
	// NeededByHold: somebody ordered that it is kept. Key may be any object, or empty for the whole vault; By is the id of the hold.
	NeededByHold KeyUse = "hold"
)

// BackupsOf is where the needs of a vault's objects by their backups are: they tell until when a backup can bring an object back, and refuse nothing. They
// stand apart from those of the vault's keys, because there is one for each object that was ever backed up. Those of a tenant's backup keys, which are needed
// until the last backup under them ends, are in the tenant.
func BackupsOf(v vault.ID) vault.ID { return "backups-of/" + v }

// KeyNeed says that what one vault keeps opens only with a key of another vault.
type KeyNeed struct {
	// Key is the key's object, In its vault.
	Key vault.ObjectID
	In  vault.ID
	// By is the vault that needs it, and ByName its name: it may be purged before its backups end.
	By     vault.ID
	ByName string
	Use    KeyUse
	// Until is when the need ends; zero when nobody knows yet.
	Until time.Time
	// Note says more, as its use has it.
	Note string
}

// Ended reports whether the need is over.
func (n *KeyNeed) Ended(now time.Time) bool { return !n.Until.IsZero() && !now.Before(n.Until) }

// TokenKey is a key in a PKCS#11 token, which a transaction of the store cannot undo.
type TokenKey struct {
	// ID is the CKA_ID in hexadecimal digits, Token the label of the token.
	ID, Token string
	// Object is the key's, empty until it is stored.
	Object vault.ObjectID
	Made   time.Time
}
