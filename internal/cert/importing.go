package cert

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"maps"
	"slices"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// File is a certificate with its key that was made elsewhere.
type File struct {
	// Value is a PFX file in base64, or PEM; the caller zeroes it. Password opens a PFX file.
	Value    []byte
	Password redact.String
}

// read reads the file. What is not base64 is PEM, whatever the policy says of the secret.
func (f *File) read(preserve bool) (b *certfile.Bundle, contentType string, err error) {
	if bytes.Contains(f.Value, []byte("-----BEGIN ")) {
		b, err = certfile.ReadPEM(f.Value, preserve)
		contentType = TypePEM
	} else {
		text := bytes.Map(dropSpace, f.Value)
		defer clear(text)
		der := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
		defer clear(der)
		n, decodeErr := base64.StdEncoding.Decode(der, text)
		if decodeErr != nil {
			return nil, "", fault.New(fault.Invalid, "the value is neither PEM nor a PFX file in base64")
		}
		b, err = certfile.ReadPFX(der[:n], f.Password.Reveal(), preserve)
		contentType = TypePFX
	}
	if err == nil {
		err = refuseKeyless(b)
	}
	return b, contentType, err
}

func dropSpace(r rune) rune {
	if r == ' ' || r == '\n' || r == '\r' || r == '\t' {
		return -1
	}
	return r
}

// Import stores a certificate with its key as the newest version, and makes it current. A policy that is given says how it is to be renewed; what it leaves out is
// taken from the certificate. While an operation is in progress it is a fault.Conflict with the reason InProgressReason.
func (s *Service) Import(ctx context.Context, call *guard.Call, name string, f File, in Input) (it Item, p *Policy, err error) {
	if err := CheckName(name); err != nil {
		return Item{}, nil, err
	}
	need := guard.Need{Action: authz.CertificateImport, Kind: vault.Certificate, Name: name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, nil, err
	}
	if err := vault.CheckTags(in.Tags); err != nil {
		return Item{}, nil, s.Guard.Refuse(ctx, call, need, err)
	}
	b, contentType, err := f.read(in.PreserveOrder)
	if err != nil {
		return Item{}, nil, s.Guard.Refuse(ctx, call, need, err)
	}
	k, err := keyOf(b)
	if err != nil {
		return Item{}, nil, s.Guard.Refuse(ctx, call, need, err)
	}
	for range maxTries {
		it, p, err = s.importOnce(ctx, call, &need, b, k, contentType, in)
		if !errors.Is(err, object.ErrMoved) {
			return it, p, err
		}
	}
	return Item{}, nil, s.Guard.Refuse(ctx, call, need, fault.New(fault.Conflict, "the certificate %q was changed by others while it was imported: try again", name))
}

// keyOf is the key of a file as the key service keeps it.
func keyOf(b *certfile.Bundle) (*cryptokey.Key, error) {
	der, err := x509.MarshalPKCS8PrivateKey(b.Key)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unsupported, "the private key is of a kind that certificates have no use for here: use RSA or EC")
	}
	defer clear(der)
	k, err := cryptokey.ParsePKCS8(der)
	if err == nil && k.Spec().Type != cryptokey.RSA && k.Spec().Type != cryptokey.EC {
		err = fault.New(fault.Unsupported, "the private key is of the type %s: certificates here have RSA or EC keys", k.Spec())
	}
	return k, err
}

func (s *Service) importOnce(ctx context.Context, call *guard.Call, need *guard.Need, b *certfile.Bundle, k *cryptokey.Key, contentType string, in Input) (it Item, p *Policy, err error) {
	refuse := func(err error) (Item, *Policy, error) { return Item{}, nil, s.Guard.Refuse(ctx, call, *need, err) }
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	pl, err := s.plan(ctx, v, need.Name, op)
	if err == nil {
		err = s.maySucceed(ctx, pl, "")
	}
	if err != nil {
		return refuse(err)
	}
	if p, err = s.imported(in.Policy, b, k, contentType); err != nil {
		return refuse(err)
	}
	enabled := *p.Enabled
	if in.Enabled != nil {
		enabled = *in.Enabled
	}
	id := vault.NewVersionID(op.At)
	_, hsm, err := cryptokey.ParseType(p.Key.Kty)
	if err != nil {
		return refuse(err)
	}
	brought, err := s.keys.Bring(ctx, k, hsm, *p.Key.Exportable)
	if err != nil {
		return refuse(err)
	}
	three, err := s.sealImport(ctx, v, pl, id, b, brought, p, in, enabled, op)
	if err != nil {
		s.keys.Discard(ctx, brought)
		return refuse(err)
	}
	need.Version = id
	err = s.Guard.Commit(ctx, call, *need, op, func(tx store.Tx) error {
		if err := s.still(ctx, tx, v, need.Name, pl); err != nil {
			return err
		}
		if err := s.dropPending(ctx, tx, v, need.Name, op); err != nil {
			return err
		}
		err := errors.Join(s.keys.Store(ctx, tx, v, need.Name, three.key, brought, false), s.secrets.Add(ctx, tx, v, need.Name, three.secret, false),
			s.own.Add(ctx, tx, v, need.Name, three.certificate, false))
		if err != nil {
			return err
		}
		if it, err = s.current(ctx, tx, v, need.Name); err != nil {
			return err
		}
		st := *pl.state
		p = p.stamped(st.Policy, op.At)
		st.Policy, st.Operation, st.Stalled = p, nil, nil
		if err := present(ctx, tx, v, it.Object.Name, op.At); err != nil {
			return err
		}
		return st.put(ctx, tx, v, it.Object, st.due(it))
	})
	if errors.Is(err, object.ErrMoved) {
		s.keys.Discard(ctx, brought)
	}
	return it, p, err
}

// sealImport makes the three versions of an import.
func (s *Service) sealImport(ctx context.Context, v *vault.Vault, pl *plan, id vault.VersionID, b *certfile.Bundle, k *key.Made, p *Policy, in Input, enabled bool, op store.Op) (three sealed, err error) {
	out := b
	if !*p.Key.Exportable {
		if out, err = certfile.New(nil, b.Certificates, true); err != nil {
			return three, err
		}
	}
	value, err := file(out, p.Secret.ContentType)
	if err != nil {
		return three, err
	}
	defer clear(value)
	doc, err := factsOf(b, p, in.PreserveOrder).encode()
	if err != nil {
		return three, err
	}
	like := &object.Draft{Doc: doc, Tags: maps.Clone(in.Tags), Enabled: enabled, NotBefore: b.Leaf.NotBefore, Expires: b.Leaf.NotAfter}
	if three.certificate, err = s.own.Seal(ctx, v, pl.certificate, id, op.At, like); err != nil {
		return three, err
	}
	if three.key, err = s.sealKey(ctx, v, pl.key, id, k, p, like, op); err != nil {
		return three, err
	}
	three.secret, err = s.secrets.Seal(ctx, v, pl.secret, id, op.At, &object.Draft{Value: value, ContentType: p.Secret.ContentType, Tags: like.Tags, Enabled: enabled,
		NotBefore: like.NotBefore, Expires: like.Expires})
	return three, err
}

// imported is the policy of a certificate that was made elsewhere: what its owner gave, and the rest as the certificate is. Nobody here can make it anew
// unless the policy names an issuer.
func (s *Service) imported(given *Policy, b *certfile.Bundle, k *cryptokey.Key, contentType string) (*Policy, error) {
	p := &Policy{}
	if given != nil {
		p = given.clone()
	}
	spec := k.Spec()
	kty := p.Key.Kty
	if typ, _, err := cryptokey.ParseType(kty); err != nil || typ != spec.Type {
		kty = string(spec.Type)
	}
	p.Key.Kty, p.Key.Bits, p.Key.Curve = kty, 0, ""
	if spec.Type == cryptokey.RSA {
		p.Key.Bits = spec.Bits
	} else {
		p.Key.Curve = string(spec.Curve)
	}
	if p.Secret.ContentType == "" {
		p.Secret.ContentType = contentType
	}
	if p.Issuer.Name == "" {
		p.Issuer.Name = UnknownIssuer
	}
	p.X509.take(b.Leaf)
	if err := s.placed(&p.Key); err != nil {
		return nil, err
	}
	p.complete()
	return p, p.check()
}

// take fills in what a policy leaves out with what a certificate says.
func (x *X509Props) take(leaf *x509.Certificate) {
	if x.Subject == "" {
		x.Subject = leaf.Subject.String()
	}
	if x.DNS == nil && x.Emails == nil && x.UPNs == nil && x.URIs == nil && x.Addresses == nil {
		x.DNS, x.Emails = slices.Clone(leaf.DNSNames), slices.Clone(leaf.EmailAddresses)
		for _, u := range leaf.URIs {
			x.URIs = append(x.URIs, u.String())
		}
		for _, a := range leaf.IPAddresses {
			x.Addresses = append(x.Addresses, a.String())
		}
	}
	if x.KeyUsage == nil {
		x.KeyUsage = usageList(leaf.KeyUsage)
	}
	if x.EKUs == nil {
		x.EKUs = purposeList(leaf)
	}
	if x.Months == 0 {
		const month = 30 * 24
		x.Months = min(max(int(leaf.NotAfter.Sub(leaf.NotBefore).Hours()/month), 1), maxMonths)
	}
}

// usageList are the words of key usages, in the order of their bits.
func usageList(bits x509.KeyUsage) []string {
	list := []string{}
	for i := range usageBits {
		for word, u := range usageWords {
			if bits&(1<<i) != 0 && u.bit == 1<<i {
				list = append(list, word)
			}
		}
	}
	return list
}

// purposeList are the purposes of a certificate as object identifiers, in its order.
func purposeList(leaf *x509.Certificate) []string {
	list := []string{}
	for _, e := range leaf.Extensions {
		if e.Id.Equal(oidPurposes) {
			list = append(list, identifiers(e.Value)...)
		}
	}
	return list
}
