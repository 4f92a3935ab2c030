package clients_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azcertificates"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

func TestGoCertificates(t *testing.T)            { testGoCertificates(t, named) }
func TestGoCertificatesPublicNames(t *testing.T) { testGoCertificates(t, public) }

func testGoCertificates(t *testing.T, c cloud) {
	if !enter(t, c) {
		return
	}
	s := start(t, c)
	s.use(t, bySecret)
	credential := must(azidentity.NewEnvironmentCredential(nil))(t)
	url := os.Getenv("VAULT_URL")
	w := certificateWalk{t, must(azcertificates.NewClient(url, credential, nil))(t), must(azsecrets.NewClient(url, credential, nil))(t), must(azkeys.NewClient(url, credential, nil))(t)}
	for _, part := range []struct {
		name string
		run  func(certificateWalk)
	}{
		{"create", certificateWalk.create}, {"sides", certificateWalk.sides}, {"operation", certificateWalk.operation}, {"merge", certificateWalk.merge}, {"import", certificateWalk.imports},
		{"policy", certificateWalk.policy}, {"attributes and lists", certificateWalk.lists}, {"delete and recover", certificateWalk.deletion}, {"backup and restore", certificateWalk.backup},
		{"issuers", certificateWalk.issuers}, {"contacts", certificateWalk.contacts}, {"errors", certificateWalk.errors},
	} {
		t.Run(part.name, func(t *testing.T) {
			w := w
			w.T = t
			part.run(w)
		})
	}
}

// certificateWalk goes through every operation on certificates with the SDK's client.
type certificateWalk struct {
	*testing.T
	client  *azcertificates.Client
	secrets *azsecrets.Client
	keys    *azkeys.Client
}

func certificatePolicy(by string) *azcertificates.CertificatePolicy {
	return &azcertificates.CertificatePolicy{IssuerParameters: &azcertificates.IssuerParameters{Name: &by},
		X509CertificateProperties: &azcertificates.X509CertificateProperties{Subject: to.Ptr("CN=DefaultPolicy"),
			SubjectAlternativeNames: &azcertificates.SubjectAlternativeNames{DNSNames: []*string{to.Ptr("shop.example")}}}}
}

func (w certificateWalk) begin(name string, p *azcertificates.CertificatePolicy) azcertificates.CertificateOperation {
	w.Helper()
	return must(w.client.CreateCertificate(w.Context(), name, azcertificates.CreateCertificateParameters{CertificatePolicy: p}, nil))(w.T).CertificateOperation
}

// made makes a certificate and waits for it, as applications do.
func (w certificateWalk) made(name string, p *azcertificates.CertificatePolicy) azcertificates.Certificate {
	w.Helper()
	w.begin(name, p)
	for range 100 {
		if op := must(w.client.GetCertificateOperation(w.Context(), name, nil))(w.T); *op.Status == "completed" {
			return must(w.client.GetCertificate(w.Context(), name, "", nil))(w.T).Certificate
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.Fatalf("the certificate %q is not completed", name)
	return azcertificates.Certificate{}
}

func (w certificateWalk) create() {
	op := w.begin("go-create", certificatePolicy("self"))
	if len(op.CSR) == 0 || op.CancellationRequested == nil || *op.CancellationRequested || op.RequestID == nil || op.Status == nil || op.StatusDetails == nil || *op.StatusDetails == "" || op.Error != nil {
		w.Errorf("what CreateCertificate answered: %s", encoded(w.T, op))
	}
	request := must(x509.ParseCertificateRequest(op.CSR))(w.T)
	if err := request.CheckSignature(); err != nil || request.Subject.CommonName != "DefaultPolicy" || len(request.DNSNames) != 1 {
		w.Errorf("the request of %s for %v: %v", request.Subject, request.DNSNames, err)
	}
	c := w.made("go-create-again", certificatePolicy("self"))
	leaf := must(x509.ParseCertificate(c.CER))(w.T)
	sum := sha1.Sum(c.CER)
	if !bytes.Equal(c.X509Thumbprint, sum[:]) || leaf.Subject.CommonName != "DefaultPolicy" || leaf.VerifyHostname("shop.example") != nil {
		w.Errorf("%s", encoded(w.T, c))
	}
	if !c.Attributes.Expires.Equal(leaf.NotAfter) || !c.Attributes.NotBefore.Equal(leaf.NotBefore) || *c.ContentType != "application/x-pkcs12" {
		w.Errorf("%s against %s to %s", encoded(w.T, c.Attributes), leaf.NotBefore, leaf.NotAfter)
	}
	if c.KID.Version() != c.ID.Version() || c.SID.Version() != c.ID.Version() {
		w.Errorf("ids %s, %s, %s", *c.ID, *c.KID, *c.SID)
	}
}

// sides reads the key and the secret behind a certificate, and opens the secret as applications do.
func (w certificateWalk) sides() {
	c := w.made("go-sides", certificatePolicy("Self"))
	s := must(w.secrets.GetSecret(w.Context(), "go-sides", "", nil))(w.T)
	if s.Managed == nil || !*s.Managed || *s.ContentType != "application/x-pkcs12" || s.KID == nil || string(*s.KID) != string(*c.KID) {
		w.Errorf("%s", encoded(w.T, s.ID))
	}
	w.openssl(must(base64.StdEncoding.DecodeString(*s.Value))(w.T), c.CER)
	k := must(w.keys.GetKey(w.Context(), "go-sides", "", nil))(w.T)
	if k.Managed == nil || !*k.Managed || strings.Join(words(k.Key.KeyOps), " ") != "sign verify wrapKey unwrapKey" {
		w.Errorf("%s", encoded(w.T, k.KeyBundle))
	}

	p := certificatePolicy("Self")
	p.SecretProperties = &azcertificates.SecretProperties{ContentType: to.Ptr("application/x-pem-file")}
	p.KeyProperties = &azcertificates.KeyProperties{KeyType: to.Ptr(azcertificates.KeyTypeEC), Curve: to.Ptr(azcertificates.CurveNameP384)}
	w.made("go-sides-pem", p)
	s = must(w.secrets.GetSecret(w.Context(), "go-sides-pem", "", nil))(w.T)
	pair := must(tls.X509KeyPair([]byte(*s.Value), []byte(*s.Value)))(w.T)
	if pair.Leaf.PublicKey.(*ecdsa.PublicKey).Curve != elliptic.P384() {
		w.Errorf("a key of %T", pair.PrivateKey)
	}
	p.KeyProperties.Exportable = to.Ptr(false)
	w.made("go-sides-kept", p)
	if s := must(w.secrets.GetSecret(w.Context(), "go-sides-kept", "", nil))(w.T); strings.Contains(*s.Value, "PRIVATE KEY") || !strings.Contains(*s.Value, "BEGIN CERTIFICATE") {
		w.Error("the secret of a key that stays has the key, or no certificate")
	}
}

// openssl opens a PFX file without a password and compares the certificate in it.
func (w certificateWalk) openssl(pfx, der []byte) {
	w.Helper()
	file := filepath.Join(w.TempDir(), "a.pfx")
	if err := os.WriteFile(file, pfx, 0o600); err != nil {
		w.Fatal(err)
	}
	out, err := exec.CommandContext(w.Context(), "openssl", "pkcs12", "-in", file, "-passin", "pass:", "-nodes").Output()
	if err != nil {
		w.Fatalf("openssl: %v", err)
	}
	found, key := false, false
	for block, rest := pem.Decode(out); block != nil; block, rest = pem.Decode(rest) {
		found = found || bytes.Equal(block.Bytes, der)
		key = key || strings.HasSuffix(block.Type, "PRIVATE KEY")
	}
	if !found || !key {
		w.Errorf("openssl found the certificate: %v, a key: %v", found, key)
	}
}

func (w certificateWalk) operation() {
	op := w.begin("go-operation", certificatePolicy("Unknown"))
	if *op.Status != "inProgress" {
		w.Errorf("%s", encoded(w.T, op))
	}
	_, err := w.client.CreateCertificate(w.Context(), "go-operation", azcertificates.CreateCertificateParameters{CertificatePolicy: certificatePolicy("Self")}, nil)
	wantError(w.T, err, 409, "Forbidden", "")
	if _, err := w.client.GetCertificatePolicy(w.Context(), "go-operation", nil); err != nil {
		w.Errorf("the policy of a certificate that is not made yet: %v", err)
	}
	cancelled := must(w.client.UpdateCertificateOperation(w.Context(), "go-operation", azcertificates.UpdateCertificateOperationParameter{CancellationRequested: to.Ptr(true)}, nil))(w.T)
	if !*cancelled.CancellationRequested {
		w.Errorf("%s", encoded(w.T, cancelled.CertificateOperation))
	}
	if got := must(w.client.GetCertificateOperation(w.Context(), "go-operation", nil))(w.T); !*got.CancellationRequested || *got.Status != "cancelled" {
		w.Errorf("%s", encoded(w.T, got.CertificateOperation))
	}
	_, err = w.client.UpdateCertificateOperation(w.Context(), "go-operation", azcertificates.UpdateCertificateOperationParameter{CancellationRequested: to.Ptr(true)}, nil)
	wantError(w.T, err, 400, "BadParameter", "")
	must(w.client.DeleteCertificateOperation(w.Context(), "go-operation", nil))(w.T)
	_, err = w.client.GetCertificateOperation(w.Context(), "go-operation", nil)
	wantError(w.T, err, 404, "PendingCertificateNotFound", "")
	w.made("go-operation", certificatePolicy("Self"))
}

// merge has a request signed by an authority outside.
func (w certificateWalk) merge() {
	op := w.begin("go-merge", certificatePolicy("Unknown"))
	request := must(x509.ParseCertificateRequest(op.CSR))(w.T)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(w.T)
	now := time.Now().Truncate(time.Second)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Outside"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(5, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}
	root := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key))(w.T)))(w.T)
	leaf := must(x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: request.Subject, DNSNames: request.DNSNames, NotBefore: now.Add(-time.Minute),
		NotAfter: now.AddDate(0, 1, 0)}, root, request.PublicKey, key))(w.T)
	_, err := w.client.MergeCertificate(w.Context(), "go-merge", azcertificates.MergeCertificateParameters{X509Certificates: [][]byte{root.Raw}}, nil)
	wantError(w.T, err, 400, "BadParameter", "")
	merged := must(w.client.MergeCertificate(w.Context(), "go-merge", azcertificates.MergeCertificateParameters{X509Certificates: [][]byte{leaf, root.Raw}}, nil))(w.T)
	if !bytes.Equal(merged.CER, leaf) {
		w.Errorf("%s", encoded(w.T, merged.ID))
	}
	s := must(w.secrets.GetSecret(w.Context(), "go-merge", "", nil))(w.T)
	w.openssl(must(base64.StdEncoding.DecodeString(*s.Value))(w.T), root.Raw)
	if op := must(w.client.GetCertificateOperation(w.Context(), "go-merge", nil))(w.T); *op.Status != "completed" {
		w.Errorf("%s", encoded(w.T, op.CertificateOperation))
	}
}

func (w certificateWalk) imports() {
	w.made("go-import-from", certificatePolicy("Self"))
	from := must(w.secrets.GetSecret(w.Context(), "go-import-from", "", nil))(w.T)
	got := must(w.client.ImportCertificate(w.Context(), "go-import", azcertificates.ImportCertificateParameters{Base64EncodedCertificate: from.Value,
		CertificateAttributes: &azcertificates.CertificateAttributes{Enabled: to.Ptr(false)}, PreserveCertOrder: to.Ptr(true)}, nil))(w.T)
	if *got.Attributes.Enabled || !*got.PreserveCertOrder || len(got.CER) == 0 {
		w.Errorf("%s", encoded(w.T, got.Certificate))
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(w.T)
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "imported"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(w.T)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))(w.T)})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	imported := must(w.client.ImportCertificate(w.Context(), "go-import-pem", azcertificates.ImportCertificateParameters{Base64EncodedCertificate: &text,
		CertificatePolicy: &azcertificates.CertificatePolicy{SecretProperties: &azcertificates.SecretProperties{ContentType: to.Ptr("application/x-pem-file")}}}, nil))(w.T)
	if !bytes.Equal(imported.CER, der) || *imported.Policy.KeyProperties.KeyType != azcertificates.KeyTypeEC || *imported.Policy.IssuerParameters.Name != "Unknown" {
		w.Errorf("%s", encoded(w.T, imported.Certificate))
	}
	k := must(w.keys.GetKey(w.Context(), "go-import-pem", "", nil))(w.T)
	if public := must(key.PublicKey.Bytes())(w.T); !bytes.Equal(public[1:], append(bytes.Clone(k.Key.X), k.Key.Y...)) {
		w.Error("the managed key is another one")
	}
	_, err := w.client.ImportCertificate(w.Context(), "go-import-bad", azcertificates.ImportCertificateParameters{Base64EncodedCertificate: to.Ptr("AAAA")}, nil)
	wantError(w.T, err, 400, "BadParameter", "")
}

func (w certificateWalk) policy() {
	w.made("go-policy", certificatePolicy("Self"))
	before := must(w.client.GetCertificatePolicy(w.Context(), "go-policy", nil))(w.T)
	if *before.KeyProperties.KeyType != azcertificates.KeyTypeRSA || *before.KeyProperties.KeySize != 2048 || *before.X509CertificateProperties.ValidityInMonths != 12 || before.KeyProperties.Curve != nil ||
		before.IssuerParameters.CertificateType != nil || len(before.LifetimeActions) != 1 || *before.LifetimeActions[0].Trigger.LifetimePercentage != 80 {
		w.Errorf("%s", encoded(w.T, before.CertificatePolicy))
	}
	change := azcertificates.CertificatePolicy{KeyProperties: &azcertificates.KeyProperties{KeyType: to.Ptr(azcertificates.KeyTypeEC), Curve: to.Ptr(azcertificates.CurveNameP256), Exportable: to.Ptr(true), ReuseKey: to.Ptr(false)}}
	after := must(w.client.UpdateCertificatePolicy(w.Context(), "go-policy", change, nil))(w.T)
	if *after.KeyProperties.KeyType != azcertificates.KeyTypeEC || after.KeyProperties.KeySize != nil || *after.X509CertificateProperties.Subject != "CN=DefaultPolicy" {
		w.Errorf("%s", encoded(w.T, after.CertificatePolicy))
	}
	w.begin("go-policy", nil)
	if k := must(w.keys.GetKey(w.Context(), "go-policy", "", nil))(w.T); *k.Key.Kty != azkeys.KeyTypeEC {
		w.Errorf("the next version has a key of the type %s", *k.Key.Kty)
	}
}

func (w certificateWalk) lists() {
	first := w.made("go-list", certificatePolicy("Self"))
	second := w.made("go-list", nil)
	updated := must(w.client.UpdateCertificate(w.Context(), "go-list", first.ID.Version(), azcertificates.UpdateCertificateParameters{Tags: map[string]*string{"a": to.Ptr("b")},
		CertificateAttributes: &azcertificates.CertificateAttributes{Enabled: to.Ptr(false)}}, nil))(w.T)
	if *updated.Attributes.Enabled || *updated.Tags["a"] != "b" || *updated.ID != *first.ID {
		w.Errorf("%s", encoded(w.T, updated.Certificate))
	}
	seen := map[string]bool{}
	for pager := w.client.NewListCertificatePropertiesVersionsPager("go-list", nil); pager.More(); {
		for _, item := range must(pager.NextPage(w.Context()))(w.T).Value {
			seen[item.ID.Version()] = *item.Attributes.Enabled
		}
	}
	if len(seen) != 2 || seen[first.ID.Version()] || !seen[second.ID.Version()] {
		w.Errorf("versions %v", seen)
	}
	w.begin("go-list-pending", certificatePolicy("Unknown"))
	for _, pending := range []bool{false, true} {
		names := map[string]bool{}
		for pager := w.client.NewListCertificatePropertiesPager(&azcertificates.ListCertificatePropertiesOptions{IncludePending: &pending}); pager.More(); {
			for _, item := range must(pager.NextPage(w.Context()))(w.T).Value {
				names[item.ID.Name()] = true
			}
		}
		if !names["go-list"] || names["go-list-pending"] != pending {
			w.Errorf("includePending=%v lists %v", pending, names)
		}
	}
}

func (w certificateWalk) deletion() {
	c := w.made("go-delete", certificatePolicy("Self"))
	gone := must(w.client.DeleteCertificate(w.Context(), "go-delete", nil))(w.T)
	looked := must(w.client.GetDeletedCertificate(w.Context(), "go-delete", nil))(w.T)
	if encoded(w.T, gone.DeletedCertificate) != encoded(w.T, looked.DeletedCertificate) || gone.Policy == nil {
		w.Errorf("%s\nthen %s", encoded(w.T, gone.DeletedCertificate), encoded(w.T, looked.DeletedCertificate))
	}
	_, err := w.secrets.GetSecret(w.Context(), "go-delete", "", nil)
	wantError(w.T, err, 404, "SecretNotFound", "")
	found := false
	for pager := w.client.NewListDeletedCertificatePropertiesPager(nil); pager.More(); {
		for _, item := range must(pager.NextPage(w.Context()))(w.T).Value {
			found = found || item.ID.Name() == "go-delete"
		}
	}
	if !found {
		w.Error("the listing of deleted certificates lacks it")
	}
	recovered := must(w.client.RecoverDeletedCertificate(w.Context(), "go-delete", nil))(w.T)
	if *recovered.ID != *c.ID || !recovered.Attributes.Updated.Equal(*c.Attributes.Updated) {
		w.Errorf("%s\nthen %s", encoded(w.T, c), encoded(w.T, recovered.Certificate))
	}
	must(w.client.DeleteCertificate(w.Context(), "go-delete", nil))(w.T)
	must(w.client.PurgeDeletedCertificate(w.Context(), "go-delete", nil))(w.T)
	_, err = w.client.GetDeletedCertificate(w.Context(), "go-delete", nil)
	wantError(w.T, err, 404, "CertificateNotFound", "")
}

func (w certificateWalk) backup() {
	c := w.made("go-backup", certificatePolicy("Self"))
	secret := must(w.secrets.GetSecret(w.Context(), "go-backup", "", nil))(w.T)
	blob := must(w.client.BackupCertificate(w.Context(), "go-backup", nil))(w.T)
	_, err := w.client.RestoreCertificate(w.Context(), azcertificates.RestoreCertificateParameters{CertificateBackup: blob.Value}, nil)
	wantError(w.T, err, 409, "Conflict", "ObjectAlreadyExists")
	must(w.client.DeleteCertificate(w.Context(), "go-backup", nil))(w.T)
	must(w.client.PurgeDeletedCertificate(w.Context(), "go-backup", nil))(w.T)
	back := must(w.client.RestoreCertificate(w.Context(), azcertificates.RestoreCertificateParameters{CertificateBackup: blob.Value}, nil))(w.T)
	if *back.ID != *c.ID || !bytes.Equal(back.CER, c.CER) || back.Policy == nil || !back.Attributes.Created.Equal(*c.Attributes.Created) {
		w.Errorf("%s\nthen %s", encoded(w.T, c), encoded(w.T, back.Certificate))
	}
	if again := must(w.secrets.GetSecret(w.Context(), "go-backup", "", nil))(w.T); *again.Value != *secret.Value || *again.ID != *secret.ID || again.Managed == nil {
		w.Error("the secret came back changed")
	}
}

func (w certificateWalk) issuers() {
	set := must(w.client.SetIssuer(w.Context(), "go-issuer", azcertificates.SetIssuerParameters{Provider: to.Ptr("ACME"),
		Credentials: &azcertificates.IssuerCredentials{AccountID: to.Ptr("account"), Password: to.Ptr("issuer-canary")}, Attributes: &azcertificates.IssuerAttributes{Enabled: to.Ptr(true)},
		OrganizationDetails: &azcertificates.OrganizationDetails{AdminContacts: []*azcertificates.AdministratorContact{{Email: to.Ptr("ops@shop.example"), FirstName: to.Ptr("A"), LastName: to.Ptr("B"), Phone: to.Ptr("1")}}}}, nil))(w.T)
	if *set.Provider != "ACME" || *set.Credentials.AccountID != "account" || set.Credentials.Password != nil || *set.OrganizationDetails.AdminContacts[0].Email != "ops@shop.example" {
		w.Errorf("%s", encoded(w.T, set.Issuer))
	}
	updated := must(w.client.UpdateIssuer(w.Context(), "go-issuer", azcertificates.UpdateIssuerParameters{Credentials: &azcertificates.IssuerCredentials{AccountID: to.Ptr("other")}}, nil))(w.T)
	if *updated.Credentials.AccountID != "other" || *updated.Provider != "ACME" {
		w.Errorf("%s", encoded(w.T, updated.Issuer))
	}
	found := false
	for pager := w.client.NewListIssuerPropertiesPager(nil); pager.More(); {
		for _, item := range must(pager.NextPage(w.Context()))(w.T).Value {
			found = found || strings.HasSuffix(*item.ID, "/certificates/issuers/go-issuer") && *item.Provider == "ACME"
		}
	}
	if !found {
		w.Error("the listing of issuers lacks it")
	}
	if got := must(w.client.GetIssuer(w.Context(), "go-issuer", nil))(w.T); encoded(w.T, got.Issuer) != encoded(w.T, updated.Issuer) {
		w.Errorf("%s", encoded(w.T, got.Issuer))
	}
	must(w.client.DeleteIssuer(w.Context(), "go-issuer", nil))(w.T)
	_, err := w.client.GetIssuer(w.Context(), "go-issuer", nil)
	wantError(w.T, err, 404, "CertificateIssuerNotFound", "")
}

func (w certificateWalk) contacts() {
	_, err := w.client.GetContacts(w.Context(), nil)
	wantError(w.T, err, 404, "ContactsNotFound", "")
	want := azcertificates.Contacts{ContactList: []*azcertificates.Contact{{Email: to.Ptr("a@shop.example"), Name: to.Ptr("A"), Phone: to.Ptr("1")}, {Email: to.Ptr("b@shop.example")}}}
	set := must(w.client.SetContacts(w.Context(), want, nil))(w.T)
	got := must(w.client.GetContacts(w.Context(), nil))(w.T)
	if len(set.ContactList) != 2 || encoded(w.T, set.Contacts) != encoded(w.T, got.Contacts) {
		w.Errorf("%s\nthen %s", encoded(w.T, set.Contacts), encoded(w.T, got.Contacts))
	}
	must(w.client.DeleteContacts(w.Context(), nil))(w.T)
	_, err = w.client.GetContacts(w.Context(), nil)
	wantError(w.T, err, 404, "ContactsNotFound", "")
}

func (w certificateWalk) errors() {
	_, err := w.client.GetCertificate(w.Context(), "go-none", "", nil)
	wantError(w.T, err, 404, "CertificateNotFound", "")
	_, err = w.client.GetCertificateOperation(w.Context(), "go-none", nil)
	wantError(w.T, err, 404, "CertificateNotFound", "")
	for _, p := range []*azcertificates.CertificatePolicy{nil, {}, certificatePolicy("nobody"), {IssuerParameters: certificatePolicy("Self").IssuerParameters}} {
		_, err = w.client.CreateCertificate(w.Context(), "go-bad", azcertificates.CreateCertificateParameters{CertificatePolicy: p}, nil)
		wantError(w.T, err, 400, "BadParameter", "")
	}
}
