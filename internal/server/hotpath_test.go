package server

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
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

// hotHandler returns the doors of a server and a request that reads a cached secret of 200 bytes.
func hotHandler(t testing.TB) (http.Handler, *http.Request) {
	t.Helper()
	d := startDev(t, filepath.Join(t.TempDir(), "d"))
	h, err := d.doors()
	if err != nil {
		t.Fatal(err)
	}
	_, resource, _ := strings.Cut(d.address(), ".")
	bearer := "Bearer " + d.token(t, "https://"+resource)
	put := httptest.NewRequest("PUT", "https://"+d.address()+"/secrets/hot?api-version=7.4", strings.NewReader(`{"value":"`+strings.Repeat("x", 200)+`"}`))
	put.Header.Set("Authorization", bearer)
	rec := httptest.NewRecorder()
	if h.ServeHTTP(rec, put); rec.Code != http.StatusOK {
		t.Fatal(rec.Code, rec.Body)
	}
	get := httptest.NewRequest("GET", "https://"+d.address()+"/secrets/hot/?api-version=7.4", nil)
	get.Header.Set("Authorization", bearer)
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

func BenchmarkSet(b *testing.B) {
	h, get := hotHandler(b)
	body := `{"value":"` + strings.Repeat("v", 128) + `"}`
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		w := &sink{header: make(http.Header)}
		for n := 0; pb.Next(); n++ {
			put := httptest.NewRequest("PUT", "https://"+get.Host+"/secrets/s"+strconv.Itoa(n%500)+"?api-version=7.6", strings.NewReader(body))
			put.Header = get.Header
			clear(w.header)
			h.ServeHTTP(w, put)
			if w.status != 200 {
				b.Error(w.status)
				return
			}
		}
	})
}
