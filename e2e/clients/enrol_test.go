package clients_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// enrolment is what clients may sign in with beside dev.env.
type enrolment struct {
	// certificateFile holds the application's private key and its certificate, as az ad sp create-for-rbac writes them.
	certificateFile string
	// tokenFile holds a token of the trusted issuer, as a Kubernetes projected volume would.
	tokenFile string
	// stranger is an application of the tenant that has no role.
	strangerID, strangerSecret string
	person
}

// person is a user with a password and a code generator.
type person struct {
	upn, password, seed string
}

const (
	trustedIssuer   = "https://cluster.example.org"
	workloadSubject = "system:serviceaccount:shop:web"
)

// enrol writes into the directory of a stopped server.
func enrol(t *testing.T, s *server) enrolment {
	t.Helper()
	e := enrolment{certificateFile: filepath.Join(filepath.Dir(s.dir), "app.pem"), tokenFile: filepath.Join(filepath.Dir(s.dir), "token")}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	db, err := sqlite.Open(sqlite.Config{Dir: filepath.Join(s.dir, "store")})
	must(err)
	defer func() { must(db.Close()) }()
	seal, err := keyfile.New(keyfile.Config{Files: []string{filepath.Join(s.dir, "seal.key")}})
	must(err)
	keys, err := keyring.Open(ctx, keyring.Config{Store: db, Seal: seal})
	must(err)
	svc, err := identity.New(identity.Config{Store: db, Keys: keys, Auditor: nobody{}, Issuer: func(vault.TenantID) string { return "https://unused.example" }})
	must(err)

	tenant := vault.TenantID(s.env["KEYWRIGHT_TENANT_ID"])
	var app *principal.Principal
	must(db.View(ctx, func(tx store.Tx) (err error) {
		app, err = tx.PrincipalByAppID(ctx, tenant, s.env["AZURE_CLIENT_ID"])
		return err
	}))
	_, certificate, err := svc.PrepareCertificate(tenant, app.ID, "client", newCertificate(t, e.certificateFile))
	must(err)
	jwks, token := newIssuer(t)
	must(os.WriteFile(e.tokenFile, token, 0o600))
	trust, err := svc.PrepareTrustedIssuer(store.TrustedIssuer{Tenant: tenant, Issuer: trustedIssuer, JWKS: jwks})
	must(err)
	_, federation, err := svc.PrepareFederation(tenant, app.ID, principal.Federation{Name: "shop", Issuer: trustedIssuer, Subject: workloadSubject})
	must(err)
	stranger, makeStranger, err := svc.PreparePrincipal(identity.Spec{Tenant: tenant, Kind: principal.Service, Name: "stranger"})
	must(err)
	strangerSecret, _, giveSecret, err := svc.PrepareSecret(ctx, tenant, stranger.ID, identity.SecretSpec{})
	must(err)
	e.strangerID, e.strangerSecret = stranger.AppID, strangerSecret.Reveal()
	must(svc.Apply(ctx, nil, certificate, trust, federation, makeStranger, giveSecret))
	e.person = enrolPerson(t, s, svc, tenant, app)
	return e
}

// enrolPerson makes a user who may read everything of the subscription and the demo vault's secrets.
func enrolPerson(t *testing.T, s *server, svc *identity.Service, tenant vault.TenantID, by *principal.Principal) person {
	t.Helper()
	p := person{upn: "ada@example.org", password: "correct horse battery"}
	user, create, err := svc.PreparePrincipal(identity.Spec{Tenant: tenant, Kind: principal.User, Name: "Ada", UPN: p.upn})
	if err != nil {
		t.Fatal(err)
	}
	set, err := svc.PreparePassword(t.Context(), tenant, user.ID, "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	text, _, generator, err := svc.PrepareTOTP(t.Context(), tenant, user, "phone")
	if err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(text.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	p.seed = address.Query().Get("secret")
	now := time.Now().UTC().Truncate(time.Microsecond)
	scope := "/subscriptions/" + s.env["KEYWRIGHT_SUBSCRIPTION_ID"]
	grants := func(ctx context.Context, tx store.Tx) error {
		var errs []error
		for _, role := range []string{authz.Reader, authz.SecretsUser} {
			errs = append(errs, tx.PutGrant(ctx, &principal.Grant{ID: vault.NewGUID(), Tenant: tenant, Scope: scope, Role: role, Principal: user.ID,
				PrincipalKind: principal.User, CreatedBy: by.ID, Created: now, Updated: now}))
		}
		return errors.Join(errs...)
	}
	if err := svc.Apply(t.Context(), nil, create, set, generator, grants); err != nil {
		t.Fatal(err)
	}
	return p
}

// nobody is the auditor of a service that signs nobody in.
type nobody struct{}

func (nobody) SignIn(context.Context, identity.SignInEvent) error {
	return errors.New("nobody signs in while the server is stopped")
}

// newCertificate writes a key and a self-signed certificate to a file and returns the latter, as PEM.
func newCertificate(t *testing.T, path string) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	both := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), certificate...)
	if err := os.WriteFile(path, both, 0o600); err != nil {
		t.Fatal(err)
	}
	return certificate
}

// newIssuer makes the key set of an outside issuer and a token of it, which ends with a newline as files do.
func newIssuer(t *testing.T) (keys, token []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys, err = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	text, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: trustedIssuer, Subject: workloadSubject,
		Audience: jwt.Audience{identity.DefaultFederationAudience}, IssuedAt: jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour))}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return keys, append([]byte(text), '\n')
}
