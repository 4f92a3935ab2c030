package key

import (
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
)

// PurposeTag names the tag by which a key declares what it is for. It is a tag, so that every client can set and see it.
const PurposeTag = "key-purpose"

// The purposes. A key does only what belongs to its own, whoever asks: one that protects data at rest signs nothing, and one that calls are
// signed with opens nothing.
const (
	DataAtRest    = "data-at-rest"
	DataInTransit = "data-in-transit"
	Connectivity  = "connectivity"
	Invocation    = "invocation"
)

// purposes says which operations belong to a purpose. Import and export are no use of the key itself, and belong to all.
var purposes = map[string]cryptokey.Ops{
	DataAtRest:    {cryptokey.Encrypt, cryptokey.Decrypt, cryptokey.WrapKey, cryptokey.UnwrapKey},
	DataInTransit: {cryptokey.Encrypt, cryptokey.Decrypt, cryptokey.Sign, cryptokey.Verify, cryptokey.WrapKey, cryptokey.UnwrapKey},
	Connectivity:  {cryptokey.Sign, cryptokey.Verify},
	Invocation:    {cryptokey.Sign, cryptokey.Verify},
}

// Purposes lists the words.
func Purposes() []string { return []string{DataAtRest, DataInTransit, Connectivity, Invocation} }

// narrowed returns the operations of the set that belong to the purpose that the tags declare; all when they declare none.
func narrowed(ops cryptokey.Ops, tags map[string]string) cryptokey.Ops {
	allowed, declared := purposes[tags[PurposeTag]]
	if !declared {
		return ops
	}
	return slices.DeleteFunc(slices.Clone(ops), func(op cryptokey.Op) bool { return !allowed.Has(op) })
}

// checkPurpose reports whether the tags declare a purpose that exists, and no operation is outside of it.
func checkPurpose(ops cryptokey.Ops, tags map[string]string) error {
	word, declared := tags[PurposeTag]
	if !declared {
		return nil
	}
	allowed, known := purposes[word]
	if !known {
		return fault.New(fault.Invalid, "the tag %s is to be one of %s", PurposeTag, strings.Join(Purposes(), ", "))
	}
	for _, op := range ops {
		if op != cryptokey.Import && op != cryptokey.Export && !allowed.Has(op) {
			return fault.New(fault.Invalid, "the operation %s does not belong to the purpose %s of this key: leave it out of key_ops, or declare another purpose", op, word)
		}
	}
	return nil
}
