package testca_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/keywright/keywright/e2e/testca"
)

func TestOnlyItsOwnCAIsBelieved(t *testing.T) {
	pair, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	other, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake() // the client says what came of it
			_ = conn.Close()
		}
	}()
	for name, c := range map[string]struct {
		ca   []byte
		want bool
	}{"its own": {pair.CA, true}, "another": {other.CA, false}} {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(c.ca)
		conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: roots})
		if (err == nil) != c.want {
			t.Errorf("with %s CA: %v", name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}
