package certfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Java's tool takes a second or two for each call: there are few.

func TestReadsWhatKeytoolWrites(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Java")
	}
	for name, options := range map[string][]string{"modern": nil, "legacy": {"-J-Dkeystore.pkcs12.legacy"}} {
		dir := t.TempDir()
		run(t, dir, "keytool", append([]string{"-genkeypair", "-keystore", "java.p12", "-storetype", "PKCS12", "-storepass", "changeit", "-alias", "www", "-keyalg", "EC",
			"-groupname", "secp256r1", "-dname", "CN=www.example.test", "-ext", "san=dns:www.example.test", "-validity", "30"}, options...)...)
		data, err := os.ReadFile(filepath.Join(dir, "java.p12"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := ReadPFX(data, "changeit", false)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if b.Key == nil || b.Leaf.DNSNames[0] != "www.example.test" || !Matches(b.Leaf, b.Key.Public()) {
			t.Errorf("%s: %v", name, b.Leaf.Subject)
		}
	}
}

func TestKeytoolReadsWhatIsWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Java")
	}
	f := newFamily(t, keys(t)["RSA"])
	b, err := New(f.key, f.chain(), false)
	if err != nil {
		t.Fatal(err)
	}
	modern, err := WritePFX(b, "changeit", Modern)
	if err != nil {
		t.Fatal(err)
	}
	legacy, err := WritePFX(b, "changeit", Legacy)
	if err != nil {
		t.Fatal(err)
	}
	jks, err := WriteJKS(b, "www", "changeit", time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	for kind, file := range map[string][]byte{"PKCS12 modern": modern, "PKCS12 legacy": legacy, "JKS": jks} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "store"), file, 0o600); err != nil {
			t.Fatal(err)
		}
		out := run(t, dir, "keytool", "-list", "-v", "-keystore", "store", "-storetype", strings.Fields(kind)[0], "-storepass", "changeit")
		if !strings.Contains(out, "PrivateKeyEntry") || !strings.Contains(out, "Certificate chain length: 3") {
			t.Errorf("in %s keytool sees\n%s", kind, out)
		}
		if kind != "JKS" {
			continue
		}
		// Java opens the key itself when it copies the entry.
		run(t, dir, "keytool", "-importkeystore", "-srckeystore", "store", "-srcstorepass", "changeit", "-destkeystore", "copy.p12", "-deststoretype", "PKCS12",
			"-deststorepass", "changeit", "-noprompt")
		copied, err := os.ReadFile(filepath.Join(dir, "copy.p12"))
		if err != nil {
			t.Fatal(err)
		}
		again, err := ReadPFX(copied, "changeit", false)
		if err != nil {
			t.Fatal(err)
		}
		f.holds(t, again)
	}
}

func TestJavaKeyStoreOfCertificates(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Java")
	}
	f := p256Family(t)
	b, err := New(nil, f.chain(), false)
	if err != nil {
		t.Fatal(err)
	}
	jks, err := WriteJKS(b, "www", "changeit", time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "store"), jks, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := run(t, dir, "keytool", "-list", "-keystore", "store", "-storetype", "JKS", "-storepass", "changeit"); strings.Count(out, "trustedCertEntry") != 3 {
		t.Errorf("keytool sees\n%s", out)
	}
	if _, err := WriteJKS(b, "www", "short", time.Time{}); err == nil {
		t.Error("a password that keytool refuses was taken")
	}
	if _, err := WriteJKS(b, "", "changeit", time.Time{}); err == nil {
		t.Error("an entry without a name was written")
	}
}
