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
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
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
	// auditPatience bounds how long one record waits for the store, and how long later ones do not ask it again.
	auditPatience = time.Second
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
	// retry is when the store, which did not answer, is asked again. It is guarded by the auditor's mu.
	retry time.Time
}

// auditor keeps the sessions. The map is copied to be changed, so that sealing takes no lock.
type auditor struct {
	ring     *Keyring
	limit    uint64
	sessions atomic.Pointer[map[string]*auditSession]
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
	a.sessions.Store(&map[string]*auditSession{})
	return a
}

func (a *auditor) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions.Store(&map[string]*auditSession{})
	a.opened.clear()
}

// auditOwner is the owner of the key for a tenant's records; those of no tenant are the installation's.
func auditOwner(tenant string) string {
	if tenant == "" {
		return installation
	}
	return tenant
}

// SealAudit appends a sealed audit record of the tenant, or with "" of the installation, to dst, bound to aad. It does not allocate when dst has room for
// len(plaintext) + AuditOverhead. While the store is away it goes on with the key it has, so that reads from memory can be
// recorded. dst must not overlap plaintext or aad.
func (k *Keyring) SealAudit(dst []byte, tenant string, plaintext, aad []byte) ([]byte, error) {
	s, err := k.audit.session(tenant)
	if err != nil {
		return nil, err
	}
	return sealWith(s.aead, append(dst, s.head...), plaintext, aad), nil
}

// session finds a usable session: one with nonces left whose key is the newest.
func (a *auditor) session(tenant string) (*auditSession, error) {
	if a.ring.locked.Load() {
		return nil, errLocked
	}
	s := (*a.sessions.Load())[tenant]
	if s != nil && s.changes.Load() == a.ring.changes.Load() && s.records.Add(1) <= s.limit {
		return s, nil
	}
	return a.renew(tenant)
}

// renew asks the store which key is the newest, or starts a session. One caller does so; the others go on with the session
// that they have, so that recording never queues behind the store.
func (a *auditor) renew(tenant string) (*auditSession, error) {
	s := (*a.sessions.Load())[tenant]
	usable := s != nil && s.records.Add(1) <= s.limit
	if !usable {
		a.mu.Lock()
	} else if !a.mu.TryLock() {
		return s, nil
	}
	defer a.mu.Unlock()
	if now := (*a.sessions.Load())[tenant]; now != s {
		s, usable = now, now != nil && now.records.Add(1) <= now.limit
	}
	changes := a.ring.changes.Load()
	if usable && (s.changes.Load() == changes || time.Now().Before(s.retry)) {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), auditPatience)
	defer cancel()
	n, err := a.ring.newest(ctx, store.AuditKey, auditOwner(tenant))
	switch {
	case a.ring.locked.Load():
		return nil, errLocked
	case usable && err != nil && !fault.Is(err, fault.Gone):
		s.retry = time.Now().Add(auditPatience)
		return s, nil
	case err != nil:
		a.keep(tenant, nil)
		return nil, err
	case usable && s.id == n.row.ID:
		s.changes.Store(changes)
		return s, nil
	}
	return a.start(n, tenant, changes)
}

// start begins a session with its first record taken. The caller holds mu.
func (a *auditor) start(n *key, tenant string, changes uint64) (*auditSession, error) {
	head, err := appendID([]byte{auditVersion}, n.row.ID)
	if err != nil {
		return nil, err
	}
	var salt [auditSaltBytes]byte
	rand.Read(salt[:])
	s := &auditSession{id: n.row.ID, head: append(head, salt[:]...), limit: a.limit}
	if s.aead, err = deriveAudit(n, tenant, salt[:]); err != nil {
		return nil, err
	}
	s.changes.Store(changes)
	s.records.Store(1)
	a.keep(tenant, s)
	return s, nil
}

func (a *auditor) keep(tenant string, s *auditSession) {
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

func deriveAudit(n *key, tenant string, salt []byte) (cipher.AEAD, error) {
	raw, err := n.reveal()
	if err != nil {
		return nil, err
	}
	defer clear(raw[:])
	derived, err := hkdf.Key(sha256.New, raw[:], salt, string(binding(bindAudit, tenant)), keyBytes)
	if err != nil {
		return nil, err
	}
	defer clear(derived)
	return (*rawKey)(derived).aead()
}

// OpenAudit appends the plaintext of a sealed audit record of the tenant to dst. A record that was changed, or is
// another's, is ErrDamaged; one whose key was destroyed is a fault.Gone.
func (k *Keyring) OpenAudit(dst []byte, tenant string, sealed, aad []byte) ([]byte, error) {
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

func auditDamaged(tenant string) error {
	return fault.Wrap(ErrDamaged, fault.Internal, "an audit record of tenant %q does not open: it was changed, or is another's; verify the log", tenant)
}

// opener finds the derived key that a record names by key id and salt.
func (a *auditor) opener(tenant string, names []byte) (*auditOpener, error) {
	if a.ring.locked.Load() {
		return nil, errLocked
	}
	if o, ok := a.opened.get(string(names)); ok && o.key.live() && o.key.row.Owner == auditOwner(tenant) {
		return o, nil
	}
	n, err := a.ring.key(context.Background(), idFromBytes(names[:idBytes]), store.AuditKey)
	if err != nil {
		return nil, err
	}
	if n.row.Owner != auditOwner(tenant) {
		return nil, auditDamaged(tenant)
	}
	o := &auditOpener{key: n}
	if o.aead, err = deriveAudit(n, tenant, names[idBytes:]); err != nil {
		return nil, err
	}
	a.opened.put(string(bytes.Clone(names)), o)
	return o, nil
}
