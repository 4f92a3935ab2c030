package key

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/vault"
)

// Facts are what callers may see of a version of a key.
type Facts struct {
	// Public is the public half; of an oct key it is the type alone. Its Kty has no -HSM suffix: see Kty.
	Public cryptokey.JWK
	// Bits is the size of an RSA or oct key.
	Bits int
	// HSM says that a hardware module was asked for: Token says whether the key is in one, and Hardware whether that is hardware.
	HSM bool
	// Token is the label of the PKCS#11 token that holds the private half; empty for a key whose private half is in the store.
	Token string
	// Hardware is true when that token said, when the key came into it, that it is a piece of hardware.
	Hardware bool
	// Ops are the operations that the key may be used for.
	Ops cryptokey.Ops
	// Exportable says that the key may be released.
	Exportable bool
	// Release says to whom; nil when the key is not exportable.
	Release *ReleasePolicy
}

// Kty is the type of the key as it was asked for.
func (f *Facts) Kty() string { return cryptokey.Type(f.Public.Kty).Kty(f.HSM) }

// symmetric reports whether the key has no public half.
func (f *Facts) symmetric() bool { return f.Public.Kty == string(cryptokey.Oct) }

// stored is the document of a version.
type stored struct {
	JWK        cryptokey.JWK  `json:"jwk"`
	Bits       int            `json:"bits,omitempty"`
	HSM        bool           `json:"hsm,omitempty"`
	Token      string         `json:"token,omitempty"`
	Hardware   bool           `json:"hardware,omitempty"`
	Ops        cryptokey.Ops  `json:"ops"`
	Exportable bool           `json:"exportable,omitempty"`
	Release    *ReleasePolicy `json:"release,omitempty"`
}

func (f *Facts) encode() ([]byte, error) {
	return json.Marshal(stored{JWK: f.Public, Bits: f.Bits, HSM: f.HSM, Token: f.Token, Hardware: f.Hardware, Ops: f.Ops, Exportable: f.Exportable, Release: f.Release})
}

// Describe reads what callers may see of a version.
func Describe(v *vault.Version) (*Facts, error) {
	var d stored
	if err := json.Unmarshal(v.Doc, &d); err != nil {
		return nil, fmt.Errorf("decoding the document of the key version %s: %w", v.ID, err)
	}
	return &Facts{Public: d.JWK, Bits: d.Bits, HSM: d.HSM, Token: d.Token, Hardware: d.Hardware, Ops: d.Ops, Exportable: d.Exportable, Release: d.Release}, nil
}

// The first byte of a sealed value says whether the key may leave, and the private encoding of package cryptokey follows; or that the key is in a token:
// see held.
const (
	staysHere = 0
	mayLeave  = 1
	inToken   = 2
)

// sealable returns the value of a version, which the caller zeroes.
func (f *fresh) sealable(exportable bool) ([]byte, error) {
	if f.held != nil {
		return f.held.append(nil), nil
	}
	mark := byte(staysHere)
	if exportable {
		mark = mayLeave
	}
	return f.key.AppendPrivate(append(make([]byte, 0, 1+cryptokey.MaxPrivateBytes), mark))
}

// parsed is a key as it is kept in memory.
type parsed struct {
	key   *cryptokey.Key
	facts *Facts
}

// parse returns the key of a record. It is parsed once for as long as the record stays in memory.
func (s *Service) parse(ctx context.Context, rec *object.Record) (*parsed, error) {
	p, err := rec.Use(ctx, s.Keys, func(value []byte) (any, error) { return s.parseValue(rec.Version, value) })
	if err != nil {
		return nil, err
	}
	return p.(*parsed), nil
}

// parseValue puts the two parts of a version together. They belong together when the document shows the public half of the sealed key, and the seal
// says of leaving what the document says.
func (s *Service) parseValue(v *vault.Version, value []byte) (*parsed, error) {
	facts, err := Describe(v)
	if err != nil {
		return nil, err
	}
	if len(value) == 0 {
		return nil, fmt.Errorf("the key version %s is empty", v.ID)
	}
	var k *cryptokey.Key
	var h held
	if value[0] == inToken {
		if h, err = parseHeld(value); err == nil {
			k, err = s.find(&h)
		}
		if err != nil {
			return nil, err
		}
	} else if k, err = cryptokey.ParsePrivate(value[1:]); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the stored key version %s cannot be read", v.ID)
	}
	if (value[0] == mayLeave) != facts.Exportable || h.token != facts.Token || h.hardware != facts.Hardware || !reflect.DeepEqual(k.PublicJWK(), facts.Public) {
		return nil, fault.New(fault.Internal, "the document of the key version %s does not belong to its key: the store was changed from outside; restore it", v.ID)
	}
	return &parsed{k, facts}, nil
}
