package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/postgres"
)

// certificate makes one that signs itself, for 127.0.0.1.
func certificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

func TestTLS(t *testing.T) {
	c := roles(t, 1)[0]
	probe := func(mode, ca string) rotator.Verdict {
		t.Helper()
		config, err := json.Marshal(map[string]any{"endpoints": []string{endpoint(running(t))}, "database": "app", "tls": map[string]string{"mode": mode, "ca": ca}})
		if err != nil {
			t.Fatal(err)
		}
		logins, err := postgres.New().Probe(t.Context(), &rotator.Target{Config: config}, c)
		if err != nil {
			t.Fatal(err)
		}
		return logins.Verdict()
	}
	if got := probe("require", ""); got != rotator.Unknown {
		t.Errorf("a server without TLS is %v: the password must not travel", got)
	}
	cert, key := certificate(t)
	other, _ := certificate(t)
	directory := ask(t, "SHOW data_directory")
	for file, text := range map[string]string{"server.crt": cert, "server.key": key} {
		give(t, filepath.Join(directory, file), text)
	}
	run(t, "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
	defer run(t, "ALTER SYSTEM RESET ssl", "SELECT pg_reload_conf()")
	await(t, "the server speaks TLS", func() bool { return probe("require", "") == rotator.Accepted })
	for _, one := range []struct {
		mode, ca string
		want     rotator.Verdict
	}{
		{"verify-full", cert, rotator.Accepted},
		{"", cert, rotator.Accepted},
		{"verify-full", other, rotator.Unknown},
		{"verify-full", "", rotator.Unknown},
	} {
		if got := probe(one.mode, one.ca); got != one.want {
			t.Errorf("mode %q: %v, want %v", one.mode, got, one.want)
		}
	}
}
