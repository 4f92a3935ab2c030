package keyring

import (
	"encoding/binary"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// bindingVersion is the first byte of all additional data. Another encoding gets another number.
const bindingVersion = 1

// What a ciphertext is, the first field of its additional data. These words are stored format: never change one.
const (
	bindKey            = "key"
	bindDataKey        = "data-key"
	bindValue          = "value"
	bindServiceDataKey = "service-data-key"
	bindService        = "service"
	bindAudit          = "audit"
	bindBackup         = "backup"
	bindDigest         = "digest"
	bindCustomerBackup = "customer-backup"
)

// binding encodes additional data so that different fields never give the same bytes: the version of the encoding, then
// each field as its length in four bytes, big-endian, and its bytes.
func binding(fields ...string) []byte {
	n := 1
	for _, f := range fields {
		n += 4 + len(f)
	}
	b := append(make([]byte, 0, n), bindingVersion)
	for _, f := range fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return b
}

// bindKeyRow binds a wrapped key to its id, use, owner and wrapping keys: nobody takes the customer's away from it.
func bindKeyRow(k *store.WrappedKey) []byte {
	fields := []string{bindKey, k.ID, string(k.Purpose), k.Owner, k.Parent}
	if c := k.Customer; c != nil {
		fields = append(fields, string(c.Key.Vault), string(c.Key.Key), string(c.Key.Version), c.Algorithm)
	}
	return binding(fields...)
}

// Place is where a value belongs: the ids that never change of its tenant, vault, object and version.
type Place struct {
	Tenant  vault.TenantID
	Vault   vault.ID
	Object  vault.ObjectID
	Version vault.VersionID
}

func (p Place) bindValue() []byte {
	return binding(bindValue, string(p.Tenant), string(p.Vault), string(p.Object), string(p.Version))
}

// bindDataKey binds a version's data key to its place and to the key that wraps it.
func (p Place) bindDataKey(key string) []byte {
	return binding(bindDataKey, key, string(p.Tenant), string(p.Vault), string(p.Object), string(p.Version))
}
