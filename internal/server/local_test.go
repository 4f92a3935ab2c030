package server

import (
	"io"
	"net/http"
	"testing"
)

// A page whose name was pointed at 127.0.0.1 meanwhile has this listener's origin: nothing but the host tells it apart.
func TestLocalListenerRefusesRebound(t *testing.T) {
	x := startTarget(t)
	local := "http://" + x.listeners[len(x.listeners)-1].Addr().String()
	ask := func(host, path string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, local+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Metadata", "true")
		if host != "" {
			r.Host = host
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode
	}
	paths := []string{"/metrics", "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"}
	for _, path := range paths {
		for _, host := range []string{"", "localhost:80", "LOCALHOST.", "[::1]:80", "[::1]", "169.254.169.254", "host.docker.internal:80"} {
			if got := ask(host, path); got == http.StatusMisdirectedRequest {
				t.Errorf("%s for the host %q: %d", path, host, got)
			}
		}
		for _, host := range []string{"evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "internal"} {
			if got := ask(host, path); got != http.StatusMisdirectedRequest {
				t.Errorf("%s for the host %q: %d", path, host, got)
			}
		}
	}
}
