package cert

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Authority is a certificate that signs others, with its key.
type Authority struct {
	// Object and Version tell it from every other one.
	Object  vault.ObjectID
	Version vault.VersionID
	// Vault is where it is.
	Vault *vault.Vault
	// Chain has the authority's own certificate first, then each one's issuer.
	Chain []*x509.Certificate
	// Key stays in the program.
	Key crypto.Signer
}

// opener finds the authority of an issuer of a vault.
func (s *Service) opener(v *vault.Vault, st *Settings) func(context.Context, string) (*Authority, error) {
	return func(ctx context.Context, name string) (*Authority, error) {
		var at *vault.Vault
		err := s.Store.View(ctx, func(tx store.Tx) (err error) {
			at, err = st.signsIn(ctx, tx, v)
			return err
		})
		if err != nil {
			return nil, err
		}
		return s.Authority(ctx, at, name, "")
	}
}

// Authority opens a version of a certificate with its key. It authorises nobody: it is for the issuers, whose makers were permitted to sign with that key. Without an
// id it is the version to issue with, which is the current one but while the authority changes: a certificate that is disabled or over is a fault.Invalid. A version that is named says what it has revoked, whatever
// became of it; only that of a deleted certificate does not.
func (s *Service) Authority(ctx context.Context, v *vault.Vault, name string, id vault.VersionID) (*Authority, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	var own, k *vault.Version
	issues := id == ""
	err := s.Store.View(ctx, func(tx store.Tx) error {
		o, err := s.objects.Live(ctx, tx, v.ID, name)
		if err != nil {
			return err
		}
		if issues {
			st, err := stateOf(ctx, tx, o.ID)
			if err != nil {
				return err
			}
			id = st.issues(o)
		}
		if own, err = tx.Version(ctx, o.ID, id); err != nil {
			return err
		}
		ko, err := s.keys.Find(ctx, tx, v.ID, name)
		if err == nil {
			k, err = tx.Version(ctx, ko.ID, own.ID)
		}
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.Invalid, "the vault has no certificate %q to sign with: create or import it first", name)
	}
	if err != nil {
		return nil, err
	}
	if issues && (!own.Attributes.Enabled || !s.Clock.Now().Before(expiry(own))) {
		return nil, fault.New(fault.Invalid, "the certificate %q is disabled, not made yet or over, so nothing is signed with it: change the issuer over to another one", name)
	}
	f, err := Describe(own)
	if err != nil {
		return nil, err
	}
	a := &Authority{Object: own.Object, Version: own.ID, Vault: v}
	if a.Chain, err = upwards(f); err != nil {
		return nil, err
	}
	opened, err := s.keys.Key(ctx, v, k)
	if err == nil {
		a.Key, err = opened.Signer()
	}
	return a, err
}

// expiry is the end of a version. One that waits for its issuer has none, and counts as over.
func expiry(ver *vault.Version) time.Time { return ver.Attributes.Expires }

// upwards is the chain of a version from its leaf on, in whatever order it is delivered.
func upwards(f *Facts) ([]*x509.Certificate, error) {
	all, err := f.Certificates()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, f.Leaf) })
	if i < 0 {
		return nil, fault.New(fault.Internal, "the chain of a stored certificate lacks the certificate itself")
	}
	chain := []*x509.Certificate{all[i]}
	for len(chain) < len(all) {
		child := chain[len(chain)-1]
		above := slices.IndexFunc(all, func(c *x509.Certificate) bool {
			return !slices.Contains(chain, c) && child.CheckSignatureFrom(c) == nil
		})
		if above < 0 {
			break
		}
		chain = append(chain, all[above])
	}
	return chain, nil
}
