package clients_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

func TestGoKeys(t *testing.T)            { testGoKeys(t, named) }
func TestGoKeysPublicNames(t *testing.T) { testGoKeys(t, public) }

func testGoKeys(t *testing.T, c cloud) {
	if !enter(t, c) {
		return
	}
	s := start(t, c)
	s.use(t, bySecret)
	client := must(azkeys.NewClient(os.Getenv("VAULT_URL"), must(azidentity.NewEnvironmentCredential(nil))(t), nil))(t)
	for _, part := range []struct {
		name string
		run  func(keyWalk)
	}{
		{"create", keyWalk.create}, {"import", keyWalk.imports}, {"bring your own", keyWalk.exchange}, {"attributes", keyWalk.attributes}, {"versions and lists", keyWalk.lists}, {"delete and recover", keyWalk.deletion},
		{"backup and restore", keyWalk.backup}, {"rotation", keyWalk.rotation}, {"sign and verify", keyWalk.signatures}, {"encrypt and wrap", keyWalk.encryption},
		{"symmetric", keyWalk.symmetric}, {"windows", keyWalk.windows}, {"random and attestation", keyWalk.others}, {"errors", keyWalk.errors},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(keyWalk{t, client}) })
	}
}

// keyWalk goes through every operation on keys with the SDK's client.
type keyWalk struct {
	*testing.T
	client *azkeys.Client
}

func (w keyWalk) make(name string, p azkeys.CreateKeyParameters) azkeys.KeyBundle {
	w.Helper()
	return must(w.client.CreateKey(w.Context(), name, p, nil))(w.T).KeyBundle
}

func words(ops []*azkeys.KeyOperation) (list []string) {
	for _, op := range ops {
		list = append(list, string(*op))
	}
	return list
}

func (w keyWalk) create() {
	for _, tt := range []struct {
		name string
		p    azkeys.CreateKeyParameters
		kty  azkeys.KeyType
		bits int
		crv  azkeys.CurveName
		ops  string
	}{
		{"rsa", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)}, azkeys.KeyTypeRSA, 2048, "", "encrypt decrypt sign verify wrapKey unwrapKey"},
		{"rsa3072", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr(int32(3072))}, azkeys.KeyTypeRSA, 3072, "", "encrypt decrypt sign verify wrapKey unwrapKey"},
		{"rsahsm", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSAHSM), KeyOps: to.SliceOfPtrs(azkeys.KeyOperationSign, azkeys.KeyOperationVerify)}, azkeys.KeyTypeRSAHSM, 2048, "", "sign verify"},
		{"ec", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeEC)}, azkeys.KeyTypeEC, 0, azkeys.CurveNameP256, "sign verify"},
		{"ec384", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeEC), Curve: to.Ptr(azkeys.CurveNameP384)}, azkeys.KeyTypeEC, 0, azkeys.CurveNameP384, "sign verify"},
		{"ec521", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeECHSM), Curve: to.Ptr(azkeys.CurveNameP521)}, azkeys.KeyTypeECHSM, 0, azkeys.CurveNameP521, "sign verify"},
		{"ec256k", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeEC), Curve: to.Ptr(azkeys.CurveNameP256K)}, azkeys.KeyTypeEC, 0, azkeys.CurveNameP256K, "sign verify"},
		{"oct", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeOct), KeySize: to.Ptr(int32(192))}, azkeys.KeyTypeOct, 0, "", "encrypt decrypt wrapKey unwrapKey"},
		{"octhsm", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeOctHSM)}, azkeys.KeyTypeOctHSM, 0, "", "encrypt decrypt wrapKey unwrapKey"},
	} {
		made := w.make("go-create-"+tt.name, tt.p)
		got := must(w.client.GetKey(w.Context(), "go-create-"+tt.name, "", nil))(w.T).KeyBundle
		if a, b := encoded(w.T, made), encoded(w.T, got); a != b {
			w.Errorf("%s: made %s, got %s", tt.name, a, b)
		}
		byVersion := must(w.client.GetKey(w.Context(), "go-create-"+tt.name, made.Key.KID.Version(), nil))(w.T).KeyBundle
		if *byVersion.Key.KID != *made.Key.KID {
			w.Errorf("%s: %s by its version is %s", tt.name, *made.Key.KID, *byVersion.Key.KID)
		}
		k := made.Key
		if *k.Kty != tt.kty || len(k.N)*8 != tt.bits || strings.Join(words(k.KeyOps), " ") != tt.ops || tt.crv != "" && *k.Crv != tt.crv {
			w.Errorf("%s: %s", tt.name, encoded(w.T, made))
		}
		a := made.Attributes
		if !*a.Enabled || *a.Exportable || *a.HSMPlatform != "0" || *a.RecoverableDays != 90 || len(k.D)+len(k.P)+len(k.K) > 0 {
			w.Errorf("%s: %s", tt.name, encoded(w.T, made))
		}
	}
	exponent := w.make("go-create-exponent", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), PublicExponent: to.Ptr(int32(17))})
	if !bytes.Equal(exponent.Key.E, []byte{17}) {
		w.Errorf("e is %x", exponent.Key.E)
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	return string(must(json.Marshal(v))(t))
}

// jwkOf is the JWK of an RSA key of ours.
func jwkOf(k *rsa.PrivateKey) *azkeys.JSONWebKey {
	return &azkeys.JSONWebKey{Kty: to.Ptr(azkeys.KeyTypeRSA), N: k.N.Bytes(), E: big.NewInt(int64(k.E)).Bytes(), D: k.D.Bytes(), P: k.Primes[0].Bytes(), Q: k.Primes[1].Bytes(),
		DP: k.Precomputed.Dp.Bytes(), DQ: k.Precomputed.Dq.Bytes(), QI: k.Precomputed.Qinv.Bytes()}
}

func (w keyWalk) imports() {
	own := must(rsa.GenerateKey(rand.Reader, 2048))(w.T)
	jwk := jwkOf(own)
	jwk.KeyOps = to.SliceOfPtrs(azkeys.KeyOperationDecrypt, azkeys.KeyOperationSign)
	got := must(w.client.ImportKey(w.Context(), "go-import", azkeys.ImportKeyParameters{Key: jwk, HSM: to.Ptr(true), Tags: map[string]*string{"a": to.Ptr("b")}}, nil))(w.T)
	if *got.Key.Kty != azkeys.KeyTypeRSAHSM || !bytes.Equal(got.Key.N, own.N.Bytes()) || strings.Join(words(got.Key.KeyOps), " ") != "decrypt sign" || *got.Tags["a"] != "b" || len(got.Key.D) > 0 {
		w.Errorf("imported %s", encoded(w.T, got.KeyBundle))
	}
	// What is encrypted here for the key that we know, the vault decrypts.
	sealed := must(rsa.EncryptOAEP(sha256.New(), rand.Reader, &own.PublicKey, []byte("for the vault"), nil))(w.T)
	plain := must(w.client.Decrypt(w.Context(), "go-import", "", azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: sealed}, nil))(w.T)
	if string(plain.Result) != "for the vault" || *plain.KID != *got.Key.KID {
		w.Errorf("decrypted %q by %s", plain.Result, *plain.KID)
	}
	jwk.Q[0]++
	_, err := w.client.ImportKey(w.Context(), "go-import-wrong", azkeys.ImportKeyParameters{Key: jwk}, nil)
	wantError(w.T, err, 400, "BadParameter", "")
}

// exchange brings a key that OpenSSL made and wrapped for a key of the vault: neither the SDK nor the vault's neighbours see it in clear.
func (w keyWalk) exchange() {
	kek := w.make("go-exchange", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSAHSM), KeyOps: []*azkeys.KeyOperation{to.Ptr(azkeys.KeyOperationImport)}})
	dir := w.TempDir()
	run := func(args ...string) {
		w.Helper()
		cmd := exec.CommandContext(w.Context(), "openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			w.Fatalf("openssl %v: %v: %s", args[0], err, out)
		}
	}
	read := func(name string) []byte { w.Helper(); return must(os.ReadFile(filepath.Join(dir, name)))(w.T) }
	public := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(kek.Key.N), E: int(new(big.Int).SetBytes(kek.Key.E).Int64())}))(w.T)
	if err := os.WriteFile(filepath.Join(dir, "kek.der"), public, 0o600); err != nil {
		w.Fatal(err)
	}
	run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "own.pem")
	run("pkcs8", "-topk8", "-nocrypt", "-in", "own.pem", "-outform", "DER", "-out", "own.der")
	run("rand", "-out", "aes.key", "32")
	run("pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", "kek.der", "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha1", "-in", "aes.key", "-out", "outer")
	run("enc", "-id-aes256-wrap-pad", "-iv", "A65959A6", "-K", hex.EncodeToString(read("aes.key")), "-in", "own.der", "-out", "inner")
	blob := must(json.Marshal(map[string]any{"schema_version": "1.0.0", "header": map[string]string{"kid": string(*kek.Key.KID), "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"},
		"ciphertext": base64.RawURLEncoding.EncodeToString(append(read("outer"), read("inner")...)), "generator": "OpenSSL"}))(w.T)
	got := must(w.client.ImportKey(w.Context(), "go-brought", azkeys.ImportKeyParameters{Key: &azkeys.JSONWebKey{Kty: to.Ptr(azkeys.KeyTypeECHSM), T: blob,
		KeyOps: to.SliceOfPtrs(azkeys.KeyOperationSign, azkeys.KeyOperationVerify)}}, nil))(w.T)
	own := must(x509.ParsePKCS8PrivateKey(read("own.der")))(w.T).(*ecdsa.PrivateKey)
	digest := sha512.Sum384([]byte("message"))
	signature := w.signed("go-brought", azkeys.SignatureAlgorithmES384, digest[:])
	half := len(signature) / 2
	if *got.Key.Kty != azkeys.KeyTypeECHSM || !ecdsa.Verify(&own.PublicKey, digest[:], new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])) {
		w.Errorf("brought %s", encoded(w.T, got.KeyBundle))
	}
	// The exchange key does nothing else, and a blob that was changed is refused.
	_, err := w.client.Sign(w.Context(), "go-exchange", "", azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmRS256), Value: make([]byte, 32)}, nil)
	wantError(w.T, err, 403, "Forbidden", "KeyOperationForbidden")
	_, err = w.client.ImportKey(w.Context(), "go-brought-wrong", azkeys.ImportKeyParameters{Key: &azkeys.JSONWebKey{Kty: to.Ptr(azkeys.KeyTypeECHSM),
		T: bytes.Replace(blob, []byte(`"ciphertext":"`), []byte(`"ciphertext":"AAAA`), 1)}}, nil)
	wantError(w.T, err, 400, "BadParameter", "")
}

func (w keyWalk) attributes() {
	nbf, exp := time.Unix(1700000000, 0), time.Unix(1900000000, 0)
	made := w.make("go-attributes", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeEC), Tags: map[string]*string{"k": to.Ptr("v")},
		KeyAttributes: &azkeys.KeyAttributes{NotBefore: &nbf, Expires: &exp, Enabled: to.Ptr(false)}})
	if *made.Attributes.Enabled || !made.Attributes.Expires.Equal(exp) || !made.Attributes.NotBefore.Equal(nbf) || *made.Tags["k"] != "v" {
		w.Errorf("made %s", encoded(w.T, made))
	}
	digest := sha256.Sum256(nil)
	sign := azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmES256), Value: digest[:]}
	_, err := w.client.Sign(w.Context(), "go-attributes", "", sign, nil)
	wantError(w.T, err, 403, "Forbidden", "KeyDisabled")
	updated := must(w.client.UpdateKey(w.Context(), "go-attributes", "", azkeys.UpdateKeyParameters{KeyOps: to.SliceOfPtrs(azkeys.KeyOperationVerify),
		KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(true)}, Tags: map[string]*string{"other": to.Ptr("tag")}}, nil))(w.T)
	if !*updated.Attributes.Enabled || len(updated.Tags) != 1 || strings.Join(words(updated.Key.KeyOps), " ") != "verify" || !updated.Attributes.Expires.Equal(exp) {
		w.Errorf("updated %s", encoded(w.T, updated.KeyBundle))
	}
	_, err = w.client.Sign(w.Context(), "go-attributes", "", sign, nil)
	wantError(w.T, err, 403, "Forbidden", "KeyOperationForbidden")
}

func (w keyWalk) lists() {
	versions := map[string]bool{}
	for range 27 {
		versions[w.make("go-versions", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeEC)}).Key.KID.Version()] = true
	}
	pages := 0
	for p := w.client.NewListKeyPropertiesVersionsPager("go-versions", nil); p.More(); pages++ {
		for _, k := range must(p.NextPage(w.Context()))(w.T).Value {
			if !versions[k.KID.Version()] || *k.Attributes.HSMPlatform != "0" {
				w.Errorf("listed %s", encoded(w.T, k))
			}
			delete(versions, k.KID.Version())
		}
	}
	if len(versions) > 0 || pages < 2 {
		w.Errorf("%d versions are missing in %d pages", len(versions), pages)
	}
	var names []string
	for p := w.client.NewListKeyPropertiesPager(nil); p.More(); {
		for _, k := range must(p.NextPage(w.Context()))(w.T).Value {
			if k.KID.Version() != "" {
				w.Errorf("listed %s", *k.KID)
			}
			names = append(names, k.KID.Name())
		}
	}
	if !slices.IsSorted(names) || !slices.Contains(names, "go-versions") {
		w.Errorf("listed %q", names)
	}
}

func (w keyWalk) deletion() {
	made := w.make("go-deleted", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), Tags: map[string]*string{"k": to.Ptr("v")}})
	deleted := must(w.client.DeleteKey(w.Context(), "go-deleted", nil))(w.T)
	if *deleted.RecoveryID == "" || deleted.ScheduledPurgeDate.Sub(*deleted.DeletedDate) != 90*24*time.Hour || *deleted.Key.KID != *made.Key.KID {
		w.Errorf("deleted %s", encoded(w.T, deleted.DeletedKey))
	}
	looked := must(w.client.GetDeletedKey(w.Context(), "go-deleted", nil))(w.T)
	if a, b := encoded(w.T, deleted.DeletedKey), encoded(w.T, looked.DeletedKey); a != b {
		w.Errorf("deleted %s, looked up %s", a, b)
	}
	found := false
	for p := w.client.NewListDeletedKeyPropertiesPager(nil); p.More(); {
		for _, k := range must(p.NextPage(w.Context()))(w.T).Value {
			found = found || k.KID.Name() == "go-deleted" && k.DeletedDate != nil
		}
	}
	if !found {
		w.Error("the deleted key is not listed")
	}
	_, err := w.client.GetKey(w.Context(), "go-deleted", "", nil)
	wantError(w.T, err, 404, "KeyNotFound", "")
	_, err = w.client.CreateKey(w.Context(), "go-deleted", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeEC)}, nil)
	wantError(w.T, err, 409, "Conflict", "ObjectIsDeletedButRecoverable")
	recovered := must(w.client.RecoverDeletedKey(w.Context(), "go-deleted", nil))(w.T)
	if a, b := encoded(w.T, made), encoded(w.T, recovered.KeyBundle); a != b {
		w.Errorf("made %s, recovered %s", a, b)
	}
	must(w.client.DeleteKey(w.Context(), "go-deleted", nil))(w.T)
	must(w.client.PurgeDeletedKey(w.Context(), "go-deleted", nil))(w.T)
	_, err = w.client.GetDeletedKey(w.Context(), "go-deleted", nil)
	wantError(w.T, err, 404, "KeyNotFound", "")
}

func (w keyWalk) backup() {
	w.make("go-backup", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)})
	first := must(w.client.GetKey(w.Context(), "go-backup", "", nil))(w.T)
	sealed := must(w.client.Encrypt(w.Context(), "go-backup", "", azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: []byte("kept")}, nil))(w.T)
	second := must(w.client.RotateKey(w.Context(), "go-backup", nil))(w.T)
	blob := must(w.client.BackupKey(w.Context(), "go-backup", nil))(w.T)
	_, err := w.client.RestoreKey(w.Context(), azkeys.RestoreKeyParameters{KeyBackup: blob.Value}, nil)
	wantError(w.T, err, 409, "Conflict", "ObjectAlreadyExists")
	must(w.client.DeleteKey(w.Context(), "go-backup", nil))(w.T)
	must(w.client.PurgeDeletedKey(w.Context(), "go-backup", nil))(w.T)
	restored := must(w.client.RestoreKey(w.Context(), azkeys.RestoreKeyParameters{KeyBackup: blob.Value}, nil))(w.T)
	if a, b := encoded(w.T, second.KeyBundle), encoded(w.T, restored.KeyBundle); a != b {
		w.Errorf("backed up %s, restored %s", a, b)
	}
	plain := must(w.client.Decrypt(w.Context(), "go-backup", first.Key.KID.Version(), azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: sealed.Result}, nil))(w.T)
	if string(plain.Result) != "kept" {
		w.Errorf("the version before opens %q", plain.Result)
	}
	_, err = w.client.RestoreKey(w.Context(), azkeys.RestoreKeyParameters{KeyBackup: []byte("nonsense")}, nil)
	wantError(w.T, err, 400, "BadParameter", "")
}

func (w keyWalk) rotation() {
	first := w.make("go-rotate", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeEC), Curve: to.Ptr(azkeys.CurveNameP384), Tags: map[string]*string{"k": to.Ptr("v")},
		KeyOps: to.SliceOfPtrs(azkeys.KeyOperationSign)})
	unset := must(w.client.GetKeyRotationPolicy(w.Context(), "go-rotate", nil))(w.T)
	if len(unset.LifetimeActions) != 1 || *unset.LifetimeActions[0].Action.Type != azkeys.KeyRotationPolicyActionNotify || unset.Attributes.ExpiryTime != nil {
		w.Errorf("the policy that nobody set is %s", encoded(w.T, unset.KeyRotationPolicy))
	}
	set := must(w.client.UpdateKeyRotationPolicy(w.Context(), "go-rotate", azkeys.KeyRotationPolicy{Attributes: &azkeys.KeyRotationPolicyAttributes{ExpiryTime: to.Ptr("P1Y6M")},
		LifetimeActions: []*azkeys.LifetimeAction{
			{Action: &azkeys.LifetimeActionType{Type: to.Ptr(azkeys.KeyRotationPolicyActionRotate)}, Trigger: &azkeys.LifetimeActionTrigger{TimeBeforeExpiry: to.Ptr("P30D")}},
			{Action: &azkeys.LifetimeActionType{Type: to.Ptr(azkeys.KeyRotationPolicyActionNotify)}, Trigger: &azkeys.LifetimeActionTrigger{TimeBeforeExpiry: to.Ptr("P60D")}},
		}}, nil))(w.T)
	got := must(w.client.GetKeyRotationPolicy(w.Context(), "go-rotate", nil))(w.T)
	if a, b := encoded(w.T, set.KeyRotationPolicy), encoded(w.T, got.KeyRotationPolicy); a != b || *got.Attributes.ExpiryTime != "P1Y6M" || len(got.LifetimeActions) != 2 {
		w.Errorf("set %s, got %s", a, b)
	}
	second := must(w.client.RotateKey(w.Context(), "go-rotate", nil))(w.T)
	if *second.Key.KID == *first.Key.KID || *second.Key.Crv != azkeys.CurveNameP384 || strings.Join(words(second.Key.KeyOps), " ") != "sign" || *second.Tags["k"] != "v" ||
		second.Attributes.Expires == nil || second.Attributes.Expires.Before(time.Now().AddDate(1, 5, 0)) {
		w.Errorf("rotated to %s", encoded(w.T, second.KeyBundle))
	}
	_, err := w.client.UpdateKeyRotationPolicy(w.Context(), "go-rotate", azkeys.KeyRotationPolicy{LifetimeActions: []*azkeys.LifetimeAction{
		{Action: &azkeys.LifetimeActionType{Type: to.Ptr(azkeys.KeyRotationPolicyActionRotate)}, Trigger: &azkeys.LifetimeActionTrigger{TimeAfterCreate: to.Ptr("P6D")}}}}, nil)
	wantError(w.T, err, 400, "BadParameter", "")
	_, err = w.client.RotateKey(w.Context(), "go-rotate-nothing", nil)
	wantError(w.T, err, 404, "KeyNotFound", "")
}

func (w keyWalk) signatures() {
	message := []byte("signed in a vault")
	d256, d384, d512 := sha256.Sum256(message), sha512.Sum384(message), sha512.Sum512(message)
	rsaKey := w.make("go-sign-rsa", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)})
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(rsaKey.Key.N), E: int(new(big.Int).SetBytes(rsaKey.Key.E).Int64())}
	for _, tt := range []struct {
		alg    azkeys.SignatureAlgorithm
		digest []byte
		check  func(signature []byte) error
	}{
		{azkeys.SignatureAlgorithmRS256, d256[:], func(s []byte) error { return rsa.VerifyPKCS1v15(public, crypto.SHA256, d256[:], s) }},
		{azkeys.SignatureAlgorithmRS384, d384[:], func(s []byte) error { return rsa.VerifyPKCS1v15(public, crypto.SHA384, d384[:], s) }},
		{azkeys.SignatureAlgorithmRS512, d512[:], func(s []byte) error { return rsa.VerifyPKCS1v15(public, crypto.SHA512, d512[:], s) }},
		{azkeys.SignatureAlgorithmPS256, d256[:], func(s []byte) error { return rsa.VerifyPSS(public, crypto.SHA256, d256[:], s, nil) }},
		{azkeys.SignatureAlgorithmPS384, d384[:], func(s []byte) error { return rsa.VerifyPSS(public, crypto.SHA384, d384[:], s, nil) }},
		{azkeys.SignatureAlgorithmPS512, d512[:], func(s []byte) error { return rsa.VerifyPSS(public, crypto.SHA512, d512[:], s, nil) }},
	} {
		signature := w.signed("go-sign-rsa", tt.alg, tt.digest)
		if err := tt.check(signature); err != nil {
			w.Errorf("%s: %v", tt.alg, err)
		}
		if tt.alg == azkeys.SignatureAlgorithmRS256 {
			w.openssl(public, message, signature)
		}
	}
	for _, tt := range []struct {
		curve  elliptic.Curve
		name   azkeys.CurveName
		alg    azkeys.SignatureAlgorithm
		digest []byte
		bytes  int
	}{{elliptic.P256(), azkeys.CurveNameP256, azkeys.SignatureAlgorithmES256, d256[:], 64}, {elliptic.P384(), azkeys.CurveNameP384, azkeys.SignatureAlgorithmES384, d384[:], 96},
		{elliptic.P521(), azkeys.CurveNameP521, azkeys.SignatureAlgorithmES512, d512[:], 132}, {nil, azkeys.CurveNameP256K, azkeys.SignatureAlgorithmES256K, d256[:], 64}} {
		name := "go-sign-" + string(tt.name)
		k := w.make(name, azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeEC), Curve: &tt.name})
		signature := w.signed(name, tt.alg, tt.digest)
		if len(signature) != tt.bytes {
			w.Errorf("%s has %d bytes", tt.alg, len(signature))
		}
		if tt.curve == nil {
			continue // the standard library does not have this curve
		}
		public := must(ecdsa.ParseUncompressedPublicKey(tt.curve, slices.Concat([]byte{4}, k.Key.X, k.Key.Y)))(w.T)
		half := len(signature) / 2
		r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
		if !ecdsa.Verify(public, tt.digest, r, s) {
			w.Errorf("%s does not verify", tt.alg)
		}
		if tt.alg == azkeys.SignatureAlgorithmES256 {
			w.openssl(public, message, must(asn1.Marshal(struct{ R, S *big.Int }{r, s}))(w.T))
		}
	}
}

// signed signs a digest, and verifies it in the vault.
func (w keyWalk) signed(name string, alg azkeys.SignatureAlgorithm, digest []byte) []byte {
	w.Helper()
	signature := must(w.client.Sign(w.Context(), name, "", azkeys.SignParameters{Algorithm: &alg, Value: digest}, nil))(w.T).Result
	for want, s := range map[bool][]byte{true: signature, false: append(bytes.Clone(signature[:len(signature)-1]), signature[len(signature)-1]^1)} {
		got := must(w.client.Verify(w.Context(), name, "", azkeys.VerifyParameters{Algorithm: &alg, Digest: digest, Signature: s}, nil))(w.T)
		if *got.Value != want {
			w.Errorf("%s: verified %v, want %v", alg, *got.Value, want)
		}
	}
	return signature
}

// openssl verifies a signature over the SHA-256 of a message.
func (w keyWalk) openssl(public crypto.PublicKey, message, signature []byte) {
	w.Helper()
	dir := w.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			w.Fatal(err)
		}
		return path
	}
	der := must(x509.MarshalPKIXPublicKey(public))(w.T)
	cmd := exec.CommandContext(w.Context(), "openssl", "dgst", "-sha256", "-verify", file("public.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"-signature", file("signature", signature), file("message", message))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "Verified OK") {
		w.Errorf("openssl: %v: %s", err, out)
	}
}

func (w keyWalk) encryption() {
	k := w.make("go-encrypt", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)})
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(k.Key.N), E: int(new(big.Int).SetBytes(k.Key.E).Int64())}
	for _, alg := range []azkeys.EncryptionAlgorithm{azkeys.EncryptionAlgorithmRSA15, azkeys.EncryptionAlgorithmRSAOAEP, azkeys.EncryptionAlgorithmRSAOAEP256} {
		p := azkeys.KeyOperationParameters{Algorithm: &alg, Value: []byte("to be kept")}
		sealed := must(w.client.Encrypt(w.Context(), "go-encrypt", "", p, nil))(w.T)
		p.Value = sealed.Result
		if got := must(w.client.Decrypt(w.Context(), "go-encrypt", "", p, nil))(w.T); string(got.Result) != "to be kept" {
			w.Errorf("%s: decrypted %q", alg, got.Result)
		}
		p.Value = []byte("0123456789abcdef")
		wrapped := must(w.client.WrapKey(w.Context(), "go-encrypt", k.Key.KID.Version(), p, nil))(w.T)
		p.Value = wrapped.Result
		if got := must(w.client.UnwrapKey(w.Context(), "go-encrypt", "", p, nil))(w.T); string(got.Result) != "0123456789abcdef" {
			w.Errorf("%s: unwrapped %q", alg, got.Result)
		}
		p.Value[0] ^= 1
		_, err := w.client.UnwrapKey(w.Context(), "go-encrypt", "", p, nil)
		wantError(w.T, err, 400, "BadParameter", "")
	}
	sealed := must(rsa.EncryptOAEP(sha1.New(), rand.Reader, public, []byte("encrypted outside"), nil))(w.T)
	got := must(w.client.Decrypt(w.Context(), "go-encrypt", "", azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP), Value: sealed}, nil))(w.T)
	if string(got.Result) != "encrypted outside" {
		w.Errorf("decrypted %q", got.Result)
	}
}

func (w keyWalk) symmetric() {
	w.make("go-oct", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeOctHSM), KeySize: to.Ptr(int32(256))})
	p := azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmA256GCM), Value: []byte("plain"), AdditionalAuthenticatedData: []byte("bound")}
	sealed := must(w.client.Encrypt(w.Context(), "go-oct", "", p, nil))(w.T)
	if len(sealed.IV) != 12 || len(sealed.AuthenticationTag) != 16 || string(sealed.AdditionalAuthenticatedData) != "bound" {
		w.Errorf("encrypted %s", encoded(w.T, sealed.KeyOperationResult))
	}
	p.Value, p.IV, p.AuthenticationTag = sealed.Result, sealed.IV, sealed.AuthenticationTag
	if got := must(w.client.Decrypt(w.Context(), "go-oct", "", p, nil))(w.T); string(got.Result) != "plain" {
		w.Errorf("decrypted %q", got.Result)
	}
	iv := bytes.Repeat([]byte{7}, 16)
	p = azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmA256CBCPAD), Value: []byte("any length"), IV: iv}
	sealed = must(w.client.Encrypt(w.Context(), "go-oct", "", p, nil))(w.T)
	p.Value = sealed.Result
	if got := must(w.client.Decrypt(w.Context(), "go-oct", "", p, nil))(w.T); string(got.Result) != "any length" || !bytes.Equal(sealed.IV, iv) {
		w.Errorf("decrypted %q, iv %x", got.Result, sealed.IV)
	}
	p = azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmA256KW), Value: iv}
	wrapped := must(w.client.WrapKey(w.Context(), "go-oct", "", p, nil))(w.T)
	p.Value = wrapped.Result
	if got := must(w.client.UnwrapKey(w.Context(), "go-oct", "", p, nil))(w.T); !bytes.Equal(got.Result, iv) {
		w.Errorf("unwrapped %x", got.Result)
	}
}

// windows tries a key outside of the time for which it is: it signs, encrypts and wraps nothing, and opens what was made before.
func (w keyWalk) windows() {
	k := w.make("go-window", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)})
	p := azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: []byte("x")}
	sealed := must(w.client.Encrypt(w.Context(), "go-window", "", p, nil))(w.T)
	digest := sha256.Sum256(nil)
	sign := azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmRS256), Value: digest[:]}
	signature := must(w.client.Sign(w.Context(), "go-window", "", sign, nil))(w.T)
	for reason, a := range map[string]*azkeys.KeyAttributes{
		"KeyExpired":     {NotBefore: to.Ptr(time.Unix(1, 0)), Expires: to.Ptr(time.Now().Add(-time.Hour))},
		"KeyNotYetValid": {NotBefore: to.Ptr(time.Now().Add(time.Hour)), Expires: to.Ptr(time.Now().Add(2 * time.Hour))},
	} {
		must(w.client.UpdateKey(w.Context(), "go-window", k.Key.KID.Version(), azkeys.UpdateKeyParameters{KeyAttributes: a}, nil))(w.T)
		for what, use := range map[string]func(context.Context) error{
			"sign":    func(ctx context.Context) error { _, err := w.client.Sign(ctx, "go-window", "", sign, nil); return err },
			"encrypt": func(ctx context.Context) error { _, err := w.client.Encrypt(ctx, "go-window", "", p, nil); return err },
			"wrap":    func(ctx context.Context) error { _, err := w.client.WrapKey(ctx, "go-window", "", p, nil); return err },
		} {
			if err := use(w.Context()); err == nil {
				w.Errorf("%s is allowed: %s", what, reason)
			} else {
				wantError(w.T, err, 403, "Forbidden", reason)
			}
		}
		open := p
		open.Value = sealed.Result
		if got := must(w.client.Decrypt(w.Context(), "go-window", "", open, nil))(w.T); string(got.Result) != "x" {
			w.Errorf("decrypted %q", got.Result)
		}
		if got := must(w.client.Verify(w.Context(), "go-window", "", azkeys.VerifyParameters{Algorithm: sign.Algorithm, Digest: digest[:], Signature: signature.Result}, nil))(w.T); !*got.Value {
			w.Error("the signature is not valid any more")
		}
	}
}

func (w keyWalk) others() {
	random := must(w.client.GetRandomBytes(w.Context(), azkeys.GetRandomBytesParameters{Count: to.Ptr(int32(32))}, nil))(w.T)
	if len(random.Value) != 32 || bytes.Equal(random.Value, make([]byte, 32)) {
		w.Errorf("random bytes: %x", random.Value)
	}
	_, err := w.client.GetRandomBytes(w.Context(), azkeys.GetRandomBytesParameters{Count: to.Ptr(int32(129))}, nil)
	wantError(w.T, err, 400, "BadParameter", "")
	k := w.make("go-attestation", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeECHSM)})
	for _, version := range []string{"", k.Key.KID.Version()} {
		got := must(w.client.GetKeyAttestation(w.Context(), "go-attestation", version, nil))(w.T)
		// Nothing attests a key in software, and nobody claims it.
		if a := got.Attributes.Attestation; *got.Key.KID != *k.Key.KID || *got.Attributes.HSMPlatform != "0" || a == nil || a.CertificatePEMFile != nil || a.PublicKeyAttestation != nil {
			w.Errorf("attested %s", encoded(w.T, got.KeyBundle))
		}
	}
}

func (w keyWalk) errors() {
	_, err := w.client.GetKey(w.Context(), "go-nothing", "", nil)
	wantError(w.T, err, 404, "KeyNotFound", "")
	for name, p := range map[string]azkeys.CreateKeyParameters{
		"okp":   {Kty: to.Ptr(azkeys.KeyType("OKP"))},
		"size":  {Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr(int32(1024))},
		"curve": {Kty: to.Ptr(azkeys.KeyTypeEC), Curve: to.Ptr(azkeys.CurveName("Ed25519"))},
		"ops":   {Kty: to.Ptr(azkeys.KeyTypeEC), KeyOps: to.SliceOfPtrs(azkeys.KeyOperation("fly"))},
		"alone": {Kty: to.Ptr(azkeys.KeyTypeRSAHSM), KeyAttributes: &azkeys.KeyAttributes{Exportable: to.Ptr(true)}},
	} {
		_, err := w.client.CreateKey(w.Context(), "go-wrong", p, nil)
		if err == nil {
			w.Errorf("%s was made", name)
			continue
		}
		wantError(w.T, err, 400, "BadParameter", "")
	}
	w.make("go-errors", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeEC)})
	for alg, digest := range map[azkeys.SignatureAlgorithm]int{azkeys.SignatureAlgorithmRS256: 32, azkeys.SignatureAlgorithmES384: 48, azkeys.SignatureAlgorithmES256: 31, "EdDSA": 32} {
		_, err := w.client.Sign(w.Context(), "go-errors", "", azkeys.SignParameters{Algorithm: &alg, Value: make([]byte, digest)}, nil)
		wantError(w.T, err, 400, "BadParameter", "")
	}
}
