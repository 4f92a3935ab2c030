package internalca_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/issuer/internalca/recordstest"
)

func TestRevocation(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	good, bad := issue(t, w.between, server(t, "good", "a.test")), issue(t, w.between, server(t, "bad", "b.test"))
	w.clock.Advance(time.Hour)
	if err := w.between.Revoke(ctx, bad, issuer.KeyCompromise); err != nil {
		t.Fatal(err)
	}
	if err := w.between.Revoke(ctx, w.between.Certificate(), issuer.Superseded); !fault.Is(err, fault.NotFound) {
		t.Errorf("another authority's certificate: %v", err)
	}
	for c, want := range map[*x509.Certificate]int{good: ocsp.Good, bad: ocsp.Revoked, w.between.Certificate(): ocsp.Unknown} {
		for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
			question, err := ocsp.CreateRequest(c, w.between.Certificate(), &ocsp.RequestOptions{Hash: hash})
			if err != nil {
				t.Fatal(err)
			}
			der, next, err := w.between.OCSP(ctx, question)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := ocsp.ParseResponseForCert(der, c, w.between.Certificate())
			if err != nil || answer.Status != want || !answer.NextUpdate.Equal(next) || !next.Equal(w.clock.Now().Add(internalca.DefaultOCSPLifetime)) {
				t.Errorf("%v with %v: %+v, %v", c.Subject, hash, answer, err)
			}
			if want == ocsp.Revoked && (answer.RevocationReason != ocsp.KeyCompromise || !answer.RevokedAt.Equal(w.clock.Now())) {
				t.Errorf("revoked at %v for %d", answer.RevokedAt, answer.RevocationReason)
			}
		}
	}

	var numbers []int64
	for range 2 {
		der, next, err := w.between.CRL(ctx)
		if err != nil {
			t.Fatal(err)
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		if err := list.CheckSignatureFrom(w.between.Certificate()); err != nil {
			t.Error(err)
		}
		if len(list.RevokedCertificateEntries) != 1 || list.RevokedCertificateEntries[0].SerialNumber.Cmp(bad.SerialNumber) != 0 ||
			list.RevokedCertificateEntries[0].ReasonCode != 1 || !list.NextUpdate.Equal(next) {
			t.Errorf("the list has %+v", list.RevokedCertificateEntries)
		}
		numbers = append(numbers, list.Number.Int64())
	}
	if numbers[1] <= numbers[0] {
		t.Errorf("the lists have the numbers %v", numbers)
	}

	// What has ended long ago leaves the list; what has just ended does not.
	for after, want := range map[time.Duration]int{time.Hour: 1, internalca.DefaultCRLLifetime: 0} {
		w.clock.Advance(bad.NotAfter.Add(after).Sub(w.clock.Now()))
		der, _, err := w.between.CRL(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := x509.ParseRevocationList(der); err != nil || len(list.RevokedCertificateEntries) != want {
			t.Errorf("%v after its end: %d entries, %v", after, len(list.RevokedCertificateEntries), err)
		}
	}
}

func TestRenewalOfTheRevokedIsDue(t *testing.T) {
	w := newWorld(t, nil)
	c := issue(t, w.between, server(t, "r", "a.test"))
	before, err := w.between.RenewalWindow(t.Context(), c)
	if err != nil || !before.Start.After(w.clock.Now()) {
		t.Errorf("%+v, %v", before, err)
	}
	if err := w.between.Revoke(t.Context(), c, issuer.CACompromise); err != nil {
		t.Fatal(err)
	}
	if after, err := w.between.RenewalWindow(t.Context(), c); err != nil || after.End.After(w.clock.Now()) {
		t.Errorf("%+v, %v", after, err)
	}
}

func TestQuestionsForOthers(t *testing.T) {
	w := newWorld(t, nil)
	c := issue(t, w.between, server(t, "r", "a.test"))
	question, err := ocsp.CreateRequest(c, w.between.Certificate(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if der, _, err := w.root.OCSP(t.Context(), question); err != nil || !bytes.Equal(der, ocsp.UnauthorizedErrorResponse) {
		t.Errorf("%x, %v", der, err)
	}
	if der, _, err := w.root.OCSP(t.Context(), []byte("nonsense")); err != nil || !bytes.Equal(der, ocsp.MalformedRequestErrorResponse) {
		t.Errorf("%x, %v", der, err)
	}
}

// away cannot be read.
type away struct{ *recordstest.Memory }

func (away) BySerial(context.Context, string) (internalca.Record, error) {
	return internalca.Record{}, fault.Wrap(errors.New("gone"), fault.Unavailable, "the store is away")
}

// Doubt must not say good.
func TestAStoreThatIsAwayIsNoAnswer(t *testing.T) {
	w := newWorld(t, nil)
	c := issue(t, w.between, server(t, "r", "a.test"))
	ca := w.open(t, internalca.Config{Certificate: w.between.Certificate(), Key: w.betweenKey, Profiles: internalca.Profiles(), Default: "server", Records: away{w.records}})
	question, err := ocsp.CreateRequest(c, w.between.Certificate(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if der, _, err := ca.OCSP(t.Context(), question); !fault.Is(err, fault.Unavailable) || !bytes.Equal(der, ocsp.TryLaterErrorResponse) {
		t.Errorf("%x, %v", der, err)
	}
}

// OpenSSL verifies the chain with the list, and reads the OCSP answer.
func TestOpenSSLAgrees(t *testing.T) {
	program, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed: run scripts/deps")
		}
		t.Skip("SKIPPED, NOT PASSED: openssl is not installed: run scripts/deps")
	}
	w := newWorld(t, &internalca.Constraints{PermittedDNS: []string{"example.test"}})
	good, bad := issue(t, w.between, server(t, "good", "a.example.test")), issue(t, w.between, server(t, "bad", "b.example.test"))
	if err := w.between.Revoke(t.Context(), bad, issuer.Superseded); err != nil {
		t.Fatal(err)
	}
	list, _, err := w.between.CRL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, blocks ...[]byte) {
		var text []byte
		for _, der := range blocks {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("root.pem", "CERTIFICATE", w.root.Certificate().Raw)
	write("between.pem", "CERTIFICATE", w.between.Certificate().Raw)
	write("list.pem", "X509 CRL", list)
	write("good.pem", "CERTIFICATE", good.Raw)
	write("bad.pem", "CERTIFICATE", bad.Raw)
	run := func(args ...string) string {
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput() // what it says decides
		return string(out)
	}
	at := []string{"verify", "-x509_strict", "-attime", "1935403200", "-CAfile", "root.pem", "-untrusted", "between.pem", "-CRLfile", "list.pem", "-crl_check", "-purpose", "sslserver"}
	if w.clock.Now().Unix() > 1935403200 || w.clock.Now().Add(internalca.DefaultCRLLifetime).Unix() < 1935403200 {
		t.Fatalf("the test's instant is not within the list's life: %d", w.clock.Now().Unix())
	}
	if out := run(append(at, "good.pem")...); !strings.Contains(out, "good.pem: OK") {
		t.Errorf("the good one:\n%s", out)
	}
	if out := run(append(at, "bad.pem")...); !strings.Contains(out, "certificate revoked") {
		t.Errorf("the revoked one:\n%s", out)
	}
	run("ocsp", "-issuer", "between.pem", "-cert", "bad.pem", "-reqout", "question.der", "-no_nonce")
	question, err := os.ReadFile(filepath.Join(dir, "question.der"))
	if err != nil {
		t.Fatal(err)
	}
	answer, _, err := w.between.OCSP(t.Context(), question)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "answer.der"), answer, 0o600); err != nil {
		t.Fatal(err)
	}
	out := run("ocsp", "-respin", "answer.der", "-issuer", "between.pem", "-cert", "bad.pem", "-CAfile", "root.pem", "-verify_other", "between.pem", "-partial_chain", "-no_cert_checks", "-attime", "1935403200")
	if !strings.Contains(out, "Response verify OK") || !strings.Contains(out, "Reason: superseded") {
		t.Errorf("the answer:\n%s", out)
	}
}

// Whatever is asked, the answer is one of the protocol.
func FuzzOCSP(f *testing.F) {
	w := newWorld(f, nil)
	question, err := ocsp.CreateRequest(issue(f, w.between, server(f, "r", "a.test")), w.between.Certificate(), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(question)
	f.Fuzz(func(t *testing.T, in []byte) {
		der, _, err := w.between.OCSP(t.Context(), in)
		if err != nil || len(der) == 0 {
			t.Fatalf("%x, %v", der, err)
		}
		_, err = ocsp.ParseResponse(der, w.between.Certificate())
		var protocol ocsp.ResponseError
		if err != nil && !errors.As(err, &protocol) {
			t.Errorf("%x: %v", der, err)
		}
	})
}
