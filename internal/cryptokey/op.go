package cryptokey

import (
	"slices"

	"github.com/keywright/keywright/internal/fault"
)

// Op is something that a key may be used for: a word of key_ops.
type Op string

// The operations of Key Vault.
const (
	Encrypt   Op = "encrypt"
	Decrypt   Op = "decrypt"
	Sign      Op = "sign"
	Verify    Op = "verify"
	WrapKey   Op = "wrapKey"
	UnwrapKey Op = "unwrapKey"
	// Import marks a key-exchange key: the only use of such a key is to carry another key into the vault.
	Import Op = "import"
	// Export lets a key be released.
	Export Op = "export"
)

var knownOps = []Op{Encrypt, Decrypt, Sign, Verify, WrapKey, UnwrapKey, Import, Export}

// Ops is a set of operations in the order in which its owner wrote it, because that is how it is shown again.
type Ops []Op

// ParseOps reads key_ops. Unknown and repeated words are fault.Invalid (RFC 7517, section 4.3, forbids repetition).
func ParseOps(words []string) (Ops, error) {
	ops := make(Ops, 0, len(words))
	for _, w := range words {
		op := Op(w)
		if !slices.Contains(knownOps, op) {
			return nil, fault.New(fault.Invalid, "%q is not a key operation; use some of %s", fault.Clip(w), join(knownOps))
		}
		if ops.Has(op) {
			return nil, fault.New(fault.Invalid, "the key operation %q is there twice", op)
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// Has reports whether op is in the set.
func (o Ops) Has(op Op) bool { return slices.Contains(o, op) }

// Require answers fault.Forbidden, with the reason that Key Vault gives, unless op is in the set.
func (o Ops) Require(op Op) error {
	if o.Has(op) {
		return nil
	}
	return fault.New(fault.Forbidden, "operation %s is not permitted on this key: its key_ops are %s", op, join(o)).Because("KeyOperationForbidden")
}

// Words returns the set as key_ops has it.
func (o Ops) Words() []string {
	words := make([]string, len(o))
	for i, op := range o {
		words[i] = string(op)
	}
	return words
}

// DefaultOps are the key_ops of a new key whose maker names none.
func (s Spec) DefaultOps() Ops {
	switch {
	case s.Type == RSA:
		return Ops{Encrypt, Decrypt, Sign, Verify, WrapKey, UnwrapKey}
	case s.Type == EC, s.Set.signs():
		return Ops{Sign, Verify}
	default:
		return Ops{Encrypt, Decrypt, WrapKey, UnwrapKey}
	}
}
