package azure

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"net/http/httptest"
)

type fixed struct{}

func (fixed) Now() time.Time { return noon }

var discard = slog.New(slog.NewTextHandler(io.Discard, nil))

func hosts() *Hosts {
	return &Hosts{Suffixes: []Suffix{{Name: "vault.local", Login: "login.local", Federated: true}, {Name: "vault.azure.net", Login: "login.microsoftonline.com"}},
		Address: func(ip string) (string, bool) { return "demo", ip == "127.0.0.1" }}
}

func TestHosts(t *testing.T) {
	tests := []struct {
		host, vault, login, resource string
		federated                    bool
	}{
		{"demo.vault.local:8443", "demo", "login.local:8443", "https://vault.local:8443", true},
		{"DEMO.Vault.Local", "DEMO", "login.local", "https://vault.local", true},
		{"demo.vault.azure.net", "demo", "login.microsoftonline.com", "https://vault.azure.net", false},
		{"127.0.0.1:8443", "demo", "127.0.0.1:8443", "https://0.0.1:8443", true},
		{"127.0.0.2:8443", "", "127.0.0.2:8443", "https://0.0.2:8443", true},
		{"a.demo.vault.local", "", "a.demo.vault.local", "https://demo.vault.local", true},
		{"not_a_name.vault.local", "", "login.local", "https://vault.local", true},
		{"vault.local", "", "vault.local", "https://local", true},
		{".vault.local", "", ".vault.local", "https://vault.local", true},
		{"evilvault.local", "", "evilvault.local", "https://local", true},
		{"demo.vault.local.evil", "", "demo.vault.local.evil", "https://vault.local.evil", true},
	}
	var seen places
	for _, tt := range tests {
		for range 2 { // the second time from memory
			p := hosts().find(&seen, tt.host)
			if p.vault != tt.vault || p.login != tt.login || p.resource != tt.resource || p.federated != tt.federated || p.base != "https://"+tt.host {
				t.Errorf("%s: %+v", tt.host, *p)
			}
		}
	}
}

func TestStrangersHostsDoNotKeepOthersOut(t *testing.T) {
	var seen places
	h := hosts()
	for i := range 3 * maxPlaces {
		h.find(&seen, fmt.Sprintf("v%d.vault.local", i))
	}
	if seen.count.Load() > maxPlaces {
		t.Errorf("%d hosts are remembered", seen.count.Load())
	}
	first := h.find(&seen, "demo.vault.local")
	if again := h.find(&seen, "demo.vault.local"); again != first {
		t.Error("after many strangers a vault's host is not remembered any more")
	}
}

func TestLongHostsAreNotRemembered(t *testing.T) {
	var seen places
	long := strings.Repeat("1", 60_000)
	for _, host := range []string{long + ".vault.local", "demo.vault.local:" + long} {
		hosts().find(&seen, host)
	}
	if n := seen.count.Load(); n != 0 {
		t.Errorf("%d hosts of 60,000 bytes are remembered", n)
	}
}

func TestAudiences(t *testing.T) {
	p := &place{resource: "https://vault.local:8443"}
	for audience, want := range map[string]bool{"https://vault.local:8443": true, "https://vault.local:8443/": true, "https://VAULT.local": true, "https://vault.azure.net": true,
		"cfa8b339-82a2-471a-a3c9-0fc0be7a4093": true, "https://vault.local:8444": false, "http://vault.local": false, "vault.local": false, "": false, "https://": false,
		"https://login.local": false, "https://vault.local:8443//": false} {
		if got := p.Accepts(audience); got != want {
			t.Errorf("%q: %v", audience, got)
		}
	}
}

func TestRefusedTokensTellTheirCode(t *testing.T) {
	refused := fault.New(fault.Unauthenticated, "Invalid audience.").Because("AKV10022")
	for err, want := range map[error]string{
		refused:                            "AKV10022: Invalid audience.",
		fmt.Errorf("asking: %w", refused):  "AKV10022: Invalid audience.",
		fault.New(fault.Unavailable, "no"): "no",
	} {
		if got := fault.As(coded(err)); got == nil || got.Message != want || got.Kind != fault.As(err).Kind || got.Reason != fault.As(err).Reason {
			t.Errorf("%v: %+v, want %q", err, got, want)
		}
	}
	if refused.Message != "Invalid audience." {
		t.Error("the error itself was changed")
	}
}

func TestChallengesHaveTheShapeThatClientsSplit(t *testing.T) {
	h := &handler{Config: Config{DefaultTenant: "11111111-1111-1111-1111-111111111111"}}
	for host, want := range map[string]string{
		"demo.vault.local:8443": `Bearer authorization="https://login.local:8443/adfs", resource="https://vault.local:8443"`,
		"127.0.0.1:8443":        `Bearer authorization="https://127.0.0.1:8443/adfs", resource="https://0.0.1:8443"`,
		"demo.vault.azure.net":  `Bearer authorization="https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111", resource="https://vault.azure.net"`,
	} {
		d, err := door.New(door.Config{Name: "t", Clock: fixed{}, Logger: discard, Fail: fail, Routes: []door.Route{{Method: "GET", Pattern: "/", Operation: "T",
			Serve: func(r *door.Request) error {
				h.challenge(r, hosts().resolve(host), nil)
				r.Raw(401, nil)
				return nil
			}}}, Prepare: func(*door.Request) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got := w.Result().Header.Get("WWW-Authenticate"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", host, got, want)
		}
	}
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"demo.vault.local:8443", "127.0.0.1:1", "[::1]:80", "", ":", "...", "vault.local"} {
		f.Add(s)
	}
	h := hosts()
	f.Fuzz(func(t *testing.T, host string) {
		p := h.resolve(host)
		if p.vault == "" || p.vault == "demo" && !strings.Contains(host, "demo") {
			return
		}
		if strings.Contains(p.vault, ".") || !strings.HasPrefix(strings.TrimPrefix(host, "["), p.vault+".") {
			t.Errorf("%q names the vault %q", host, p.vault)
		}
		// Clients check that the host ends in a dot and the resource.
		if resource := strings.TrimPrefix(p.resource, "https://"); !strings.HasSuffix(strings.ToLower(host), "."+strings.ToLower(resource)) && !strings.HasPrefix(host, "[") {
			t.Errorf("%q has the resource %q, which clients refuse", host, resource)
		}
	})
}
