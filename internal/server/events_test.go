package server

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/event"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
)

// hook receives web hooks on loop-back: it keeps the validation URL and sends on what it gets.
func hook(t *testing.T) (address string, link chan string, got chan string) {
	t.Helper()
	link, got = make(chan string, 10), make(chan string, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Aeg-Event-Type") == "SubscriptionValidation" {
			var list []struct {
				Data struct{ ValidationURL string }
			}
			if json.Unmarshal(body, &list) == nil && len(list) == 1 {
				link <- list[0].Data.ValidationURL
			}
			return
		}
		got <- string(body)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/hook?code=CANARY", link, got
}

// subscribe stores a subscription and begins its handshake.
func (d *Dev) subscribe(t *testing.T, address string) *event.Subscription {
	t.Helper()
	row, err := d.core.events.Prepare(t.Context(), event.Spec{Tenant: d.estate.Tenant, Name: "functions", Endpoint: redact.String(address)})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.core.store.Update(t.Context(), store.NewOp(d.core.clock.Now()), func(tx store.Tx) error {
		return tx.PutEventSubscription(t.Context(), row)
	}); err != nil {
		t.Fatal(err)
	}
	sub, err := d.core.events.Handshake(t.Context(), row.ID)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func expect(t *testing.T, got chan string, parts ...string) {
	t.Helper()
	select {
	case body := <-got:
		for _, part := range parts {
			if !strings.Contains(body, part) {
				t.Errorf("%s does not hold %s", body, part)
			}
		}
	case <-time.After(time.Minute):
		t.Fatalf("no event with %v was delivered", parts)
	}
}

// A handshake is confirmed by hand over the server's own address; then a secret that is set, and one that expires, are told to the endpoint.
func TestEventsReachTheirSubscribers(t *testing.T) {
	now := clock.NewManual(time.Now())
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Clock: now}})
	address, links, got := hook(t)
	if sub := d.subscribe(t, address); sub.State != event.Awaiting {
		t.Fatalf("the subscription is %s (%s)", sub.State, sub.Detail)
	}
	link, client := <-links, d.httpClient(t)
	status := func(method, url string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		return answer.StatusCode
	}
	for url, want := range map[string]int{link + "x": 404, "https://" + d.address() + validationPath: 404} {
		if got := status("GET", url); got != want {
			t.Errorf("GET %s: %d, want %d", url, got, want)
		}
	}
	if got := status("PUT", link); got != 405 {
		t.Errorf("PUT: %d, want 405", got)
	}
	if got := status("GET", link); got != 200 {
		t.Fatalf("the validation URL answers with %d", got)
	}
	answer, body := d.azure(t).do("PUT", "/secrets/db-password?api-version=7.6", `{"value":"VALUE","attributes":{"exp":`+
		jsonNumber(now.Now().Add(10*24*time.Hour))+`}}`)
	if answer.StatusCode != 200 {
		t.Fatal(body)
	}
	url := "https://demo." + d.names.suffix + d.names.port + "/secrets/db-password/"
	expect(t, got, `"eventType":"Microsoft.KeyVault.SecretNewVersionCreated"`, `"Id":"`+url, `"VaultName":"demo"`,
		`"topic":"/subscriptions/`+string(d.estate.Subscription)+"/resourceGroups/dev/providers/Microsoft.KeyVault/vaults/demo\"")
	if err := d.core.tellExpiries(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, got, `"eventType":"Microsoft.KeyVault.SecretNearExpiry"`)
	now.Advance(10 * 24 * time.Hour)
	if err := d.core.tellExpiries(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, got, `"eventType":"Microsoft.KeyVault.SecretExpired"`)
}

func jsonNumber(t time.Time) string {
	b, _ := json.Marshal(t.Unix())
	return string(b)
}

// The hosts of vaults belong to the vaults.
func TestValidationIsNotAVaults(t *testing.T) {
	n := namesFor(DefaultSuffix, ":8443")
	passed := false
	h := (&core{}).withValidation(&n, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true }))
	r := httptest.NewRequest("GET", "https://demo."+DefaultSuffix+validationPath, nil)
	if h.ServeHTTP(httptest.NewRecorder(), r); !passed {
		t.Error("a vault's host does not lead to the vault")
	}
}
