package keyring

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// A sealed audit record is
//
//	1, the version | id of the audit key, 16 bytes | salt, 16 bytes | 1, AES-256-GCM | nonce, 12 bytes | ciphertext | tag, 16 bytes
//
// The key of the cipher is HKDF-SHA256 (RFC 5869) of the audit key and the salt. There is a record for every request, and
// SP 800-38D, section 8.3, allows 2^32 random nonces under one key: a busy tenant would be there in a day. So each process
// draws its own salt, and another one long before the limit.
const (
	auditVersion    = 1
	auditSaltBytes  = 16
	auditHead       = 1 + idBytes + auditSaltBytes
	recordsPerSalt  = 1 << 31
	cachedAuditKeys = 256
	maxAuditTenants = 4096
)

// AuditOverhead is how much longer a sealed audit record is than its plaintext.
const AuditOverhead = auditHead + 1 + overhead

// auditSession seals the records of one tenant under one derived key.
type auditSession struct {
	id   string
	head []byte
	aead cipher.AEAD
	// changes is the count of key changes at which id was last known to be the newest.
	changes atomic.Uint64
	records atomic.Uint64
	limit   uint64
}

// auditor keeps the sessions. The map is copied to be changed, so that sealing takes no lock.
type auditor struct {
	ring     *Keyring
	limit    uint64
	sessions atomic.Pointer[map[vault.TenantID]*auditSession]
	opened   *cache[string, *auditOpener]
	// mu lets one caller change sessions at a time.
	mu sync.Mutex
}

// auditOpener is a derived key of records read back.
type auditOpener struct {
	key  *key
	aead cipher.AEAD
}

func newAuditor(k *Keyring) *auditor {
	a := &auditor{ring: k, limit: recordsPerSalt, opened: newCache[string](cachedAuditKeys, func(*auditOpener) {})}
	a.sessions.Store(&map[vault.TenantID]*auditSession{})
	return a
}

func (a *auditor) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions.Store(&map[vault.TenantID]*auditSession{})
	a.opened.clear()
}

// SealAudit appends a sealed audit record of the tenant to dst, bound to aad. It does not allocate when dst has room for
// len(plaintext) + AuditOverhead. While the store is away it goes on with the key it has, so that reads from memory can be
// recorded. dst must not overlap plaintext or aad.
func (k *Keyring) SealAudit(dst []byte, tenant vault.TenantID, plaintext, aad []byte) ([]byte, error) {
	s, err := k.audit.session(tenant)
	if err != nil {
		return nil, err
	}
	return sealWith(s.aead, append(dst, s.head...), plaintext, aad), nil
}

// session finds a usable session: one with nonces left whose key is the newest.
func (a *auditor) session(tenant vault.TenantID) (*auditSession, error) {
	if a.ring.locked.Load() {
		return nil, errLocked
	}
	s := (*a.sessions.Load())[tenant]
	if s != nil && s.changes.Load() == a.ring.changes.Load() && s.records.Add(1) <= s.limit {
		return s, nil
	}
	return a.renew(tenant)
}

func (a *auditor) renew(tenant vault.TenantID) (*auditSession, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	changes := a.ring.changes.Load()
	old := (*a.sessions.Load())[tenant]
	usable := old != nil && old.records.Add(1) <= old.limit
	if usable && old.changes.Load() == changes {
		return old, nil
	}
	n, err := a.ring.newest(context.Background(), store.AuditKey, string(tenant))
	if err != nil {
		if usable && fault.Is(err, fault.Unavailable) && !a.ring.locked.Load() {
			return old, nil
		}
		a.keep(tenant, nil)
		return nil, err
	}
	if usable && old.id == n.row.ID {
		old.changes.Store(changes)
		return old, nil
	}
	s, err := a.start(n, tenant)
	if err != nil {
		return nil, err
	}
	s.changes.Store(changes)
	s.records.Store(1)
	a.keep(tenant, s)
	if a.ring.locked.Load() {
		a.keep(tenant, nil)
		return nil, errLocked
	}
	return s, nil
}

func (a *auditor) keep(tenant vault.TenantID, s *auditSession) {
	next := maps.Clone(*a.sessions.Load())
	if len(next) >= maxAuditTenants {
		clear(next)
	}
	delete(next, tenant)
	if s != nil {
		next[tenant] = s
	}
	a.sessions.Store(&next)
}

func (a *auditor) start(n *key, tenant vault.TenantID) (*auditSession, error) {
	head, err := appendID([]byte{auditVersion}, n.row.ID)
	if err != nil {
		return nil, err
	}
	var salt [auditSaltBytes]byte
	rand.Read(salt[:])
	s := &auditSession{id: n.row.ID, head: append(head, salt[:]...), limit: a.limit}
	s.aead, err = deriveAudit(n, tenant, salt[:])
	return s, err
}

func deriveAudit(n *key, tenant vault.TenantID, salt []byte) (cipher.AEAD, error) {
	raw, err := n.reveal()
	if err != nil {
		return nil, err
	}
	defer clear(raw[:])
	derived, err := hkdf.Key(sha256.New, raw[:], salt, string(binding(bindAudit, string(tenant))), keyBytes)
	if err != nil {
		return nil, err
	}
	defer clear(derived)
	return (*rawKey)(derived).aead()
}

// OpenAudit appends the plaintext of a sealed audit record of the tenant to dst. A record that was changed, or is
// another's, is ErrDamaged; one whose key was destroyed is a fault.Gone.
func (k *Keyring) OpenAudit(dst []byte, tenant vault.TenantID, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < AuditOverhead || sealed[0] != auditVersion {
		return nil, auditDamaged(tenant)
	}
	o, err := k.audit.opener(tenant, sealed[1:auditHead])
	if err != nil {
		return nil, err
	}
	plain, err := openWith(o.aead, dst, sealed[auditHead:], aad)
	if err != nil {
		return nil, auditDamaged(tenant)
	}
	return plain, nil
}

func auditDamaged(tenant vault.TenantID) error {
	return fault.Wrap(ErrDamaged, fault.Internal, "an audit record of tenant %s does not open: it was changed, or is another's; verify the log", tenant)
}

// opener finds the derived key that a record names by key id and salt.
func (a *auditor) opener(tenant vault.TenantID, names []byte) (*auditOpener, error) {
	if a.ring.locked.Load() {
		return nil, errLocked
	}
	if o, ok := a.opened.get(string(names)); ok && o.key.live() && o.key.tenant() == tenant {
		return o, nil
	}
	n, err := a.ring.key(context.Background(), idFromBytes(names[:idBytes]), store.AuditKey)
	if err != nil {
		return nil, err
	}
	if n.tenant() != tenant {
		return nil, auditDamaged(tenant)
	}
	o := &auditOpener{key: n}
	if o.aead, err = deriveAudit(n, tenant, names[idBytes:]); err != nil {
		return nil, err
	}
	a.opened.put(string(bytes.Clone(names)), o)
	return o, nil
}
