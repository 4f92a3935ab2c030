package server

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// sink is a ResponseWriter that keeps nothing but the status.
type sink struct {
	header http.Header
	status int
	bytes  int
}

func (s *sink) Header() http.Header  { return s.header }
func (s *sink) WriteHeader(code int) { s.status = code }
func (s *sink) Write(b []byte) (int, error) {
	s.bytes += len(b)
	return len(b), nil
}

func hotHandler(t testing.TB) (http.Handler, *http.Request) {
	d, err := StartDev(t.Context(), DevConfig{Config: Config{Dir: filepath.Join(t.TempDir(), "d"), AuditReserveBytes: 1 << 20}, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	h, err := d.doors()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := cutPort(d.address())
	tok, err := direct{d}.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://0.0.1" + port + "/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	put := httptest.NewRequest("PUT", "https://"+d.address()+"/secrets/hot?api-version=7.4", reader(`{"value":"`+string(make200())+`"}`))
	put.Header.Set("Authorization", "Bearer "+tok.Token)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, put)
	if rec.Code != 200 {
		t.Fatal(rec.Code, rec.Body)
	}
	get := httptest.NewRequest("GET", "https://"+d.address()+"/secrets/hot/?api-version=7.4", nil)
	get.Header.Set("Authorization", "Bearer "+tok.Token)
	return h, get
}

func BenchmarkGet(b *testing.B) {
	h, get := hotHandler(b)
	w := &sink{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.ServeHTTP(w, get)
		if w.status != 200 {
			b.Fatal(w.status)
		}
	}
}

func cutPort(addr string) (string, string, bool) {
	for i := len(addr) - 1; i >= 0; i-- {
		if addr[i] == ':' {
			return addr[:i], addr[i:], true
		}
	}
	return addr, "", false
}

func reader(s string) io.Reader { return strings.NewReader(s) }

func make200() []byte { return bytes.Repeat([]byte("x"), 200) }
