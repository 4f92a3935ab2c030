package server

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/keywright/keywright/internal/config"
)

// A sealed server tells of its health to those alone whom it will serve, by the TLS that it will speak.
func TestSealedListenersServeWhomTheyWillServe(t *testing.T) {
	from := httptest.NewTLSServer(nil)
	defer from.Close()
	pair := from.TLS.Certificates[0]
	var err error
	if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
		t.Fatal(err)
	}
	certs := &certificates{}
	certs.serving.Store(&[]*tls.Certificate{&pair})
	open := bound{}
	defer open.close()
	for _, name := range []string{"admin", "public", "private"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		open[name] = l
	}
	f := &config.File{}
	f.TLS.MinVersion = "1.3"
	f.Listeners.Admin.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	f.Listeners.Private = &config.PrivateListener{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	stop := lendAll(f, open, certs, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), slog.New(slog.DiscardHandler))
	defer stop()
	ask := func(listener string, most uint16) error {
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: most}}}
		answer, err := c.Get("https://" + open[listener].Addr().String())
		if err == nil {
			answer.Body.Close()
		}
		return err
	}
	for _, c := range []struct {
		listener string
		most     uint16
		answers  bool
	}{{"public", 0, true}, {"private", 0, true}, {"admin", 0, false}, {"public", tls.VersionTLS12, false}} {
		if err := ask(c.listener, c.most); (err == nil) != c.answers {
			t.Errorf("the %s listener with TLS of at most %x: %v; answers: %v wanted", c.listener, c.most, err, c.answers)
		}
	}
}
