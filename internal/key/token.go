package key

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Token holds private halves of keys and computes with them, so that the store never has them. A PKCS#11 token does. All methods may wait for it; one that
// is away answers fault.Unavailable.
type Token interface {
	// Name is the token's label, which stays when it moves to another slot.
	Name() string
	// Hardware reports whether the token says that it is a piece of hardware.
	Hardware() bool
	// Generate makes a key in the token, and Import brings one there, under an id that nothing there has; both stay until Destroy.
	Generate(spec cryptokey.Spec, id []byte) (*cryptokey.Key, error)
	Import(k *cryptokey.Key, id []byte) (*cryptokey.Key, error)
	// Find and FindImported return such a key, or a fault.NotFound.
	Find(id []byte) (*cryptokey.Key, error)
	FindImported(id []byte) (*cryptokey.Key, error)
	// Destroy removes a key for good. One that is not there is a fault.NotFound.
	Destroy(id []byte) error
}

// tokenIDBytes is the length of the random CKA_ID of a key.
const tokenIDBytes = 16

// held says where in a token a private half is. It is what a version's sealed value has in the place of the private half:
//
//	2 | flags | CKA_ID, 16 bytes | label of the token
type held struct {
	token string
	id    [tokenIDBytes]byte
	// imported keys have been elsewhere before; hardware is what the token said of itself when the key came there.
	imported, hardware bool
}

const (
	heldImported = 1 << iota
	heldHardware
)

func (h *held) append(dst []byte) []byte {
	flags := byte(0)
	if h.imported {
		flags |= heldImported
	}
	if h.hardware {
		flags |= heldHardware
	}
	return append(append(append(dst, inToken, flags), h.id[:]...), h.token...)
}

func parseHeld(value []byte) (h held, err error) {
	if len(value) <= 2+tokenIDBytes || value[0] != inToken || value[1] > heldImported|heldHardware {
		return held{}, fault.New(fault.Internal, "what is stored of a key in a token cannot be read")
	}
	h.imported, h.hardware = value[1]&heldImported != 0, value[1]&heldHardware != 0
	h.token = string(value[2+copy(h.id[:], value[2:2+tokenIDBytes]):])
	return h, nil
}

// find asks the token that the server is bound to for the key.
func (s *Service) find(h *held) (*cryptokey.Key, error) {
	if s.Token == nil || s.Token.Name() != h.token {
		return nil, unbound(h.token)
	}
	find := s.Token.Find
	if h.imported {
		find = s.Token.FindImported
	}
	k, err := find(h.id[:])
	if fault.Is(err, fault.NotFound) {
		return nil, fault.Wrap(err, fault.Gone, "the key is not in the PKCS#11 token %q any more: it was removed there, and restoring the token brings it back", h.token)
	}
	return k, err
}

// unbound says which token a server would need.
func unbound(token string) error {
	return fault.New(fault.Unavailable, "the key is in the PKCS#11 token %q, to which this server is not bound: start it with that token", token)
}

// fresh is a key that is about to be stored.
type fresh struct {
	key *cryptokey.Key
	hsm bool
	// held is nil for a key in memory, whose private half is in the store.
	held *held
}

// tokenFor returns the token in which a key is to be; nil for one that is kept in the store. A token lets no key out, so exportable keys cannot be there.
func (s *Service) tokenFor(hsm, exportable bool) (Token, error) {
	switch {
	case s.Token == nil || !hsm:
		return nil, nil
	case exportable:
		return nil, fault.New(fault.Unsupported, "keys of -HSM types are in the PKCS#11 token %q, which lets none out: make the key without the attribute exportable",
			s.Token.Name())
	}
	return s.Token, nil
}

// intoToken brings a key into the token. The store knows of it before: what is there and never stored as a key is destroyed by SweepToken.
func (s *Service) intoToken(ctx context.Context, t Token, imported bool, put func(id []byte) (*cryptokey.Key, error)) (*fresh, error) {
	h := &held{token: t.Name(), imported: imported, hardware: t.Hardware()}
	rand.Read(h.id[:])
	op := store.NewOp(s.Clock.Now())
	err := s.Store.Update(ctx, op, func(tx store.Tx) error {
		return tx.AddTokenKey(ctx, &store.TokenKey{ID: hex.EncodeToString(h.id[:]), Token: h.token, Made: op.At})
	})
	if err != nil && !errors.Is(err, store.ErrCommitted) {
		return nil, err
	}
	k, err := put(h.id[:])
	if err != nil {
		return nil, err
	}
	return &fresh{key: k, hsm: true, held: h}, nil
}

// keep says, in the transaction that stores a version, to which object its key in the token belongs.
func (f *fresh) keep(ctx context.Context, tx store.Tx, o vault.ObjectID) error {
	if f.held == nil {
		return nil
	}
	return tx.KeepTokenKey(ctx, hex.EncodeToString(f.held.id[:]), o)
}

// packedAtOnce is how many versions one query of a backup brings into memory.
const packedAtOnce = 100

// leaves reports whether every version of a key can be in a backup.
func leaves(ctx context.Context, tx store.Tx, o *vault.Object) error {
	for after := vault.VersionID(""); ; {
		versions, err := tx.Versions(ctx, o.ID, after, packedAtOnce)
		if err != nil {
			return err
		}
		for _, v := range versions {
			f, err := Describe(v)
			if err != nil {
				return err
			}
			if f.Token != "" {
				return fault.New(fault.Unsupported, "the key %q cannot be backed up: its version %s is in the PKCS#11 token %q, which lets none out; back up the token instead",
					o.Name, v.ID, f.Token).Because("KeyInToken")
			}
			after = v.ID
		}
		if len(versions) < packedAtOnce {
			return nil
		}
	}
}

// discard destroys at once what will not be stored.
func (s *Service) discard(ctx context.Context, f *fresh) error {
	if f.held == nil {
		return nil
	}
	return s.destroy(ctx, &store.TokenKey{ID: hex.EncodeToString(f.held.id[:]), Token: f.held.token})
}

// Purge destroys a deleted key for good, in its token too. A token that is away keeps it until it is back.
func (s *Service) Purge(ctx context.Context, call *guard.Call, name string) error {
	if err := s.Lifecycle.Purge(ctx, call, name); err != nil {
		return err
	}
	s.sweepPurged(ctx, name)
	return nil
}

// sweepPurged destroys what a purged key has left in the token.
func (s *Service) sweepPurged(ctx context.Context, name string) {
	if _, err := s.SweepToken(ctx); err != nil {
		s.Logger.WarnContext(ctx, "a purged key could not be destroyed in its token yet; it is tried again", "key", name, "error", err)
	}
}

const (
	// unkeptAfter is how long a key in a token may be without an object: far longer than any request that makes one takes.
	unkeptAfter = time.Hour
	// straysAtOnce bounds one look for keys to destroy.
	straysAtOnce = 100
)

// SweepToken destroys the keys in the token that belong to no key of a vault: those of purged ones, and those that were made and then not stored. It returns
// how many those were.
func (s *Service) SweepToken(ctx context.Context) (destroyed int, err error) {
	if s.Token == nil {
		return 0, nil
	}
	var strays []*store.TokenKey
	now := s.Clock.Now()
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		strays, err = tx.StrayTokenKeys(ctx, now.Add(-unkeptAfter), straysAtOnce)
		return err
	})
	for _, k := range strays {
		if k.Token != s.Token.Name() {
			continue // it is destroyed when a server is bound to that token
		}
		if e := s.destroy(ctx, k); e != nil {
			err = errors.Join(err, e)
			continue
		}
		destroyed++
	}
	return destroyed, err
}

func (s *Service) destroy(ctx context.Context, k *store.TokenKey) error {
	id, err := hex.DecodeString(k.ID)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the id %q of a key in a token cannot be read", k.ID)
	}
	if err := s.Token.Destroy(id); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	err = s.Store.Update(ctx, store.NewOp(s.Clock.Now()), func(tx store.Tx) error { return tx.DropTokenKey(ctx, k.ID) })
	if fault.Is(err, fault.NotFound) || errors.Is(err, store.ErrCommitted) {
		return nil
	}
	return err
}
