package clients_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	jose "github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/cryptokey"
)

// attestor is an attestation authority as Microsoft Azure Attestation is one: its signing keys are published as certificates alone, its tokens name where, and the
// environment that is attested has its keys in the claim x-ms-runtime.
type attestor struct {
	*httptest.Server
	key *rsa.PrivateKey
	// environment is the key of what is attested.
	environment *rsa.PrivateKey
}

const attestorKey = "J0pAPdfXXHqWWimgrH853wMIdh5/fLe1z6uSXYPXCa0="

func newAttestor(t *testing.T) *attestor {
	t.Helper()
	a := &attestor{key: must(rsa.GenerateKey(rand.Reader, 2048))(t), environment: must(rsa.GenerateKey(rand.Reader, 2048))(t)}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Attestation Service"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der := must(x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key))(t)
	mux := http.NewServeMux()
	answer := func(path string, body func() any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(body())
		})
	}
	answer("/.well-known/openid-configuration", func() any {
		return map[string]any{"issuer": a.URL, "jwks_uri": a.URL + "/certs", "response_types_supported": []string{"token", "none"},
			"id_token_signing_alg_values_supported": []string{"RS256"}, "claims_supported": []string{"is-debuggable", "x-ms-sgx-mrsigner"}}
	})
	answer("/certs", func() any {
		return map[string]any{"keys": []any{map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(der)}, "kid": attestorKey, "kty": "RSA"}}}
	})
	a.Server = httptest.NewTLSServer(mux)
	t.Cleanup(a.Close)
	return a
}

// trusted makes the tenant trust the authority.
func (a *attestor) trusted(t *testing.T, s *server) {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "attestor-ca.pem")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})))
	s.keywright(t, "", "principal", "issuer", "add", a.URL, "--issuer-ca-file", ca)
}

// policy releases to confidential virtual machines that the authority attests.
func (a *attestor) policy() []byte {
	return []byte(`{"version":"1.0.0","anyOf":[{"authority":"` + a.URL + `","allOf":[` +
		`{"claim":"x-ms-isolation-tee.x-ms-attestation-type","equals":"sevsnpvm"},{"claim":"x-ms-isolation-tee.x-ms-compliance-status","equals":"azure-compliant-cvm"}]}]}`)
}

// token attests a machine of the compliance by a key of the authority.
func (a *attestor) token(t *testing.T, key *rsa.PrivateKey, compliance string) string {
	t.Helper()
	public := func(k *rsa.PrivateKey, id, op string) map[string]any {
		return map[string]any{"kid": id, "kty": "RSA", "key_ops": []string{op}, "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(k.N.Bytes())}
	}
	now := time.Now().Unix()
	claims := must(json.Marshal(map[string]any{"iss": a.URL, "iat": now, "nbf": now - 60, "exp": now + 3600, "jti": "1", "x-ms-ver": "1.0", "x-ms-attestation-type": "azurevm",
		"x-ms-isolation-tee": map[string]any{"x-ms-attestation-type": "sevsnpvm", "x-ms-compliance-status": compliance},
		"x-ms-runtime": map[string]any{"client-payload": map[string]string{"nonce": "n"},
			"keys": []any{public(a.key, "HCLAkPub", "sign"), public(a.environment, "TpmEphemeralEncryptionKey", "encrypt")}}}))(t)
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: attestorKey}},
		(&jose.SignerOptions{}).WithType("JWT").WithHeader("jku", a.URL+"/certs")))(t)
	return must(must(signer.Sign(claims))(t).CompactSerialize())(t)
}

// opened reads a released key: the answer is a JWS whose payload has the key, wrapped for the environment.
func (a *attestor) opened(t *testing.T, answer string) (kid string, key *cryptokey.Key) {
	t.Helper()
	parts := strings.Split(answer, ".")
	if len(parts) != 3 {
		t.Fatalf("the answer has %d parts", len(parts))
	}
	var payload struct {
		Response struct {
			Key struct {
				Key struct {
					Kid    string
					Kty    string
					KeyHSM cryptokey.Bytes `json:"key_hsm"`
				}
			}
		}
	}
	if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[1]))(t), &payload); err != nil {
		t.Fatal(err)
	}
	k := payload.Response.Key.Key
	blob := must(cryptokey.ParseTransferBlob(k.KeyHSM))(t)
	if blob.Header.Kid != "TpmEphemeralEncryptionKey" {
		t.Errorf("it is wrapped for %s", blob.Header.Kid)
	}
	environment := must(cryptokey.ParsePKCS8(must(x509.MarshalPKCS8PrivateKey(a.environment))(t)))(t)
	kind, _, err := cryptokey.ParseType(k.Kty)
	if err != nil {
		t.Fatal(err)
	}
	return k.Kid, must(environment.Receive(kind, blob.Header.Enc, blob.Ciphertext))(t)
}

// release releases a key to an attested machine, and to nobody else.
func (w keyWalk) release(a *attestor) {
	exportable := &azkeys.KeyAttributes{Exportable: to.Ptr(true)}
	made := w.make("go-release", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeECHSM), KeyAttributes: exportable,
		ReleasePolicy: &azkeys.KeyReleasePolicy{ContentType: to.Ptr("application/json; charset=utf-8"), EncodedPolicy: a.policy(), Immutable: to.Ptr(true)}})
	if !*made.Attributes.Exportable || string(made.ReleasePolicy.EncodedPolicy) != string(a.policy()) || !*made.ReleasePolicy.Immutable {
		w.Errorf("made %s", encoded(w.T, made))
	}
	token := a.token(w.T, a.key, "azure-compliant-cvm")
	for _, enc := range []*azkeys.KeyEncryptionAlgorithm{nil, to.Ptr(azkeys.KeyEncryptionAlgorithmCKMRSAAESKEYWRAP), to.Ptr(azkeys.KeyEncryptionAlgorithmRSAAESKEYWRAP256),
		to.Ptr(azkeys.KeyEncryptionAlgorithmRSAAESKEYWRAP384)} {
		got := must(w.client.Release(w.Context(), "go-release", "", azkeys.ReleaseParameters{TargetAttestationToken: &token, Nonce: to.Ptr("n"), Algorithm: enc}, nil))(w.T)
		kid, key := a.opened(w.T, *got.Value)
		if public := key.PublicJWK(); kid != string(*made.Key.KID) || string(public.X) != string(made.Key.X) {
			w.Errorf("released %s", kid)
		}
	}
	// A rotated key keeps its policy, and is released as well.
	rotated := must(w.client.RotateKey(w.Context(), "go-release", nil))(w.T)
	got := must(w.client.Release(w.Context(), "go-release", rotated.Key.KID.Version(), azkeys.ReleaseParameters{TargetAttestationToken: &token}, nil))(w.T)
	if kid, key := a.opened(w.T, *got.Value); kid != string(*rotated.Key.KID) || string(key.PublicJWK().X) != string(rotated.Key.X) {
		w.Errorf("released %s", kid)
	}
	stranger := must(rsa.GenerateKey(rand.Reader, 2048))(w.T)
	for name, token := range map[string]string{"not compliant": a.token(w.T, a.key, "none"), "signed by another": a.token(w.T, stranger, "azure-compliant-cvm"), "no token": "a.b.c"} {
		_, err := w.client.Release(w.Context(), "go-release", "", azkeys.ReleaseParameters{TargetAttestationToken: &token}, nil)
		if err == nil {
			w.Errorf("released to one that is %s", name)
			continue
		}
		wantError(w.T, err, 403, "Forbidden", "")
	}
	w.make("go-kept", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeECHSM)})
	_, err := w.client.Release(w.Context(), "go-kept", "", azkeys.ReleaseParameters{TargetAttestationToken: &token}, nil)
	wantError(w.T, err, 403, "Forbidden", "KeyOperationForbidden")
	_, err = w.client.UpdateKey(w.Context(), "go-release", "", azkeys.UpdateKeyParameters{ReleasePolicy: &azkeys.KeyReleasePolicy{EncodedPolicy: []byte(strings.Replace(string(a.policy()), "sevsnpvm", "sgx", 1))}}, nil)
	if err == nil {
		w.Error("an immutable policy was changed")
	}
}

func TestGoRelease(t *testing.T) {
	if !enter(t, named) {
		return
	}
	s, a := start(t, named), newAttestor(t)
	a.trusted(t, s)
	s.use(t, bySecret)
	client := must(azkeys.NewClient(os.Getenv("VAULT_URL"), must(azidentity.NewEnvironmentCredential(nil))(t), nil))(t)
	keyWalk{t, client}.release(a)
}
