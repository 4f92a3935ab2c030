package certfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/keywright/keywright/internal/fault"
)

// TestReadsWhatOpenSSLWrites goes over the algorithms that OpenSSL has had as its defaults and those that people choose.
func TestReadsWhatOpenSSLWrites(t *testing.T) {
	for name, key := range keys(t) {
		f := newFamily(t, key)
		dir := f.write(t)
		for _, options := range []string{
			"", "-legacy", "-descert -legacy", "-legacy -certpbe PBE-SHA1-RC2-128 -keypbe PBE-SHA1-RC2-128", "-legacy -certpbe PBE-SHA1-2DES -keypbe PBE-SHA1-2DES",
			"-certpbe NONE -keypbe NONE", "-certpbe NONE", "-keypbe AES-128-CBC -certpbe AES-192-CBC -macalg sha512", "-macalg sha384", "-macalg sha224",
			"-keypbe DES-EDE3-CBC -certpbe DES-EDE3-CBC", "-iter 20000",
		} {
			for _, password := range []string{"", "correct horse", "Grüße, 世界"} {
				file := filepath.Join(dir, "out.pfx")
				args := append([]string{"pkcs12", "-export", "-inkey", "key.pem", "-in", "leaf.pem", "-certfile", "chain.pem", "-out", file, "-passout", "pass:" + password},
					strings.Fields(options)...)
				run(t, dir, "openssl", args...)
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				b, err := ReadPFX(data, password, false)
				if err != nil {
					t.Fatalf("%s %q, password %q: %v", name, options, password, err)
				}
				f.holds(t, b)
				if _, err := ReadPFX(data, password+"x", false); fault.As(err) == nil || fault.As(err).Reason != ReasonPassword {
					t.Errorf("%s %q: a wrong password gave %v", name, options, err)
				}
			}
			if name != "RSA" {
				break // the containers are the same
			}
		}
	}
}

func TestFilesWithoutMAC(t *testing.T) {
	f := p256Family(t)
	dir := f.write(t)
	file := filepath.Join(dir, "out.pfx")
	run(t, dir, "openssl", "pkcs12", "-export", "-inkey", "key.pem", "-in", "leaf.pem", "-certfile", "chain.pem", "-out", file, "-passout", "pass:", "-nomac")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ReadPFX(data, "", false)
	if err != nil {
		t.Fatal(err)
	}
	f.holds(t, b)
	if _, err := ReadPFX(data, "x", false); !fault.Is(err, fault.Invalid) {
		t.Errorf("a password that nothing checks gave %v", err)
	}
}

// OpenSSL and the library read what is written here, with and without a password, in both strengths.
func TestOpenSSLReadsWhatIsWritten(t *testing.T) {
	for name, key := range keys(t) {
		f := newFamily(t, key)
		dir := f.write(t)
		b, err := New(key, f.chain(), false)
		if err != nil {
			t.Fatal(err)
		}
		for strength, option := range map[Strength]string{Modern: "-info", Legacy: "-legacy"} {
			for _, password := range []string{"", "correct horse"} {
				data, err := WritePFX(b, password, strength)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "in.pfx"), data, 0o600); err != nil {
					t.Fatal(err)
				}
				run(t, dir, "openssl", "pkcs12", "-in", "in.pfx", "-passin", "pass:"+password, "-nodes", "-out", "out.pem", option)
				text, err := os.ReadFile(filepath.Join(dir, "out.pem"))
				if err != nil {
					t.Fatal(err)
				}
				read, err := ReadPEM(text, false)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				f.holds(t, read)
				again, err := ReadPFX(data, password, false)
				if err != nil {
					t.Fatal(err)
				}
				f.holds(t, again)
				if _, _, _, err := pkcs12.DecodeChain(data, password); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// A key that must not leave goes out as certificates alone.
func TestCertificatesAlone(t *testing.T) {
	f := p256Family(t)
	b, err := New(nil, f.chain(), false)
	if err != nil {
		t.Fatal(err)
	}
	data, err := WritePFX(b, "", Modern)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in.pfx"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	text := run(t, dir, "openssl", "pkcs12", "-in", "in.pfx", "-passin", "pass:", "-nodes")
	if strings.Contains(text, "PRIVATE") || strings.Count(text, "BEGIN CERTIFICATE") != 3 {
		t.Errorf("OpenSSL sees\n%s", text)
	}
	again, err := ReadPFX(data, "", false)
	if err != nil || again.Key != nil || !again.Leaf.Equal(f.leaf) || len(again.Certificates) != 3 {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestWritesKeysThatOpenSSLReads(t *testing.T) {
	for name, key := range keys(t) {
		f := newFamily(t, key)
		b, err := New(key, f.chain(), false)
		if err != nil {
			t.Fatal(err)
		}
		text, err := WritePEM(b)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "in.pem"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := run(t, dir, "openssl", "pkey", "-in", "in.pem", "-noout", "-text"); !strings.Contains(out, "rivate") {
			t.Errorf("%s: %s", name, out)
		}
		if out := run(t, dir, "openssl", "x509", "-in", "in.pem", "-noout", "-subject"); !strings.Contains(out, "www.example.test") {
			t.Errorf("the first certificate of %s is not the leaf: %s", name, out)
		}
	}
}

// OpenSSL writes keys in three forms, and parameters of curves before them.
func TestReadsKeysInTheirOldForms(t *testing.T) {
	f := newFamily(t, keys(t)["RSA"])
	dir := f.write(t)
	run(t, dir, "openssl", "rsa", "-in", "key.pem", "-traditional", "-out", "old.pem")
	checkPEM(t, f, dir, "RSA PRIVATE KEY", "old.pem", "leaf.pem", "chain.pem")
	checkPEM(t, f, dir, "BEGIN PRIVATE KEY", "chain.pem", "leaf.pem", "key.pem")

	f = p256Family(t)
	dir = f.write(t)
	run(t, dir, "openssl", "ec", "-in", "key.pem", "-out", "old.pem")
	run(t, dir, "openssl", "ecparam", "-name", "prime256v1", "-out", "params.pem")
	checkPEM(t, f, dir, "EC PARAMETERS", "chain.pem", "params.pem", "old.pem", "leaf.pem")

	for _, options := range [][]string{{"pkcs8", "-topk8", "-in", "key.pem", "-passout", "pass:secret", "-out", "enc.pem"},
		{"ec", "-in", "key.pem", "-aes128", "-passout", "pass:secret", "-out", "enc.pem"}} {
		run(t, dir, "openssl", options...)
		if _, err := ReadPEM(concat(t, dir, "leaf.pem", "enc.pem"), false); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "encrypted") {
			t.Errorf("an encrypted key gave %v", err)
		}
	}
}

func checkPEM(t *testing.T, f *family, dir, contains string, files ...string) {
	t.Helper()
	text := concat(t, dir, files...)
	if !strings.Contains(string(text), contains) {
		t.Fatalf("the file does not contain %s", contains)
	}
	b, err := ReadPEM(text, false)
	if err != nil {
		t.Fatal(err)
	}
	f.holds(t, b)
}

func concat(t *testing.T, dir string, files ...string) (all []byte) {
	t.Helper()
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	return all
}
