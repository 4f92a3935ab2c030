package endpoint_test

import (
	"context"
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/testca"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

func TestMistakesAreReportedTogether(t *testing.T) {
	var m endpoint.Mistakes
	if m.Err("x") != nil {
		t.Error("no mistake is one")
	}
	m.Addresses("good", []string{"a:1", "[::1]:65535"})
	if m.Err("x") != nil {
		t.Errorf("good addresses: %v", m)
	}
	bad := []string{"host", ":1", "h:0", "h:65536", "https://h:1", "u@h:1", "h:http"}
	m.Addresses("bad", bad)
	m.Addresses("double", []string{"d:1", "d:1"})
	m.Addresses("none", nil)
	m.TLS(endpoint.TLS{CA: "no PEM"}, true)
	if len(m) != len(bad)+4 {
		t.Errorf("%d mistakes, want %d: %q", len(m), len(bad)+4, m)
	}
	if err := m.Err("x"); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "none is missing") {
		t.Errorf("got %v", err)
	}
}

func TestDial(t *testing.T) {
	pair, err := testca.New()
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
			go func() {
				_, _ = io.Copy(io.Discard, conn) // says nothing, as long as the client stays
				_ = conn.Close()
			}()
		}
	}()
	address := listener.Addr().String()

	if _, err := endpoint.Dial(t.Context(), address, &tls.Config{MinVersion: tls.VersionTLS12}); err == nil {
		t.Error("a certificate of a CA that nobody trusts is believed")
	}
	if wrong, err := (endpoint.TLS{CA: string(pair.CA), ServerName: "other.example"}).Config(); err != nil {
		t.Error(err)
	} else if _, err := endpoint.Dial(t.Context(), address, wrong); err == nil {
		t.Error("a certificate with another name is believed")
	}
	settings, err := endpoint.TLS{CA: string(pair.CA)}.Config()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	conn, err := endpoint.Dial(ctx, address, settings)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begin := time.Now()
	if _, err := conn.Read(make([]byte, 1)); err == nil || time.Since(begin) > 30*time.Second {
		t.Errorf("reading from a silent server came back after %v with %v, want an error at the end of the context", time.Since(begin), err)
	}
}
