package dualkey_test

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/testca"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/dualkey"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// cloud is a protocol fake: the token endpoint, Resource Manager's key actions, and data services that check signatures by themselves. What passes against
// it is not thereby proved to pass against Azure.
type cloud struct {
	kind   string
	ca     string
	server *httptest.Server

	mu       sync.Mutex
	accounts map[string]*account
	tokens   map[string]string
	log      strings.Builder
}

type account struct {
	keys    map[string]string
	made    map[string]time.Time
	locked  bool
	becomes string
}

var slots = map[string][2]string{"azure-storage": {"key1", "key2"}, "azure-service-bus": {"PrimaryKey", "SecondaryKey"}, "azure-event-hubs": {"PrimaryKey", "SecondaryKey"}, "http": {"a/key", "b~key"}}

func newKey() string {
	key := make([]byte, 64)
	_, _ = rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

func newCloud(t *testing.T, kind string) *cloud {
	t.Helper()
	pair, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{kind: kind, ca: string(pair.CA), accounts: map[string]*account{}, tokens: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /tenant-1/oauth2/v2.0/token", c.token)
	base := "/subscriptions/sub-1/resourceGroups/group.1/providers/"
	mux.HandleFunc("POST "+base+"Microsoft.Storage/storageAccounts/{account}/{action}", c.manage)
	mux.HandleFunc("POST "+base+"Microsoft.ServiceBus/namespaces/space-1/authorizationRules/{account}/{action}", c.manage)
	mux.HandleFunc("POST "+base+"Microsoft.EventHub/namespaces/space-1/authorizationRules/{account}/{action}", c.manage)
	mux.HandleFunc("GET /blob/{account}/{$}", c.blob)
	mux.HandleFunc("GET /bus/$Resources/{what}", c.bus)
	mux.HandleFunc("GET /own/{account}/keys", c.ownKeys)
	mux.HandleFunc("POST /own/{account}/keys/{slot}", c.ownKeys)
	mux.HandleFunc("GET /own/whoami", c.whoami)
	c.server = httptest.NewUnstartedServer(c.logging(mux))
	c.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	c.server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	return c
}

func (c *cloud) logging(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		c.mu.Lock()
		defer c.mu.Unlock()
		if strings.HasSuffix(r.URL.Path, "/token") { // OAuth's client secret is in the body by design
			body = nil
		}
		fmt.Fprintf(&c.log, "%s %s %s\n", r.Method, r.URL, body)
		if c.kind != "http" { // there, the key is in the header by design
			fmt.Fprintf(&c.log, "%v\n", r.Header)
		}
		next.ServeHTTP(w, r)
	})
}

func (c *cloud) token(w http.ResponseWriter, r *http.Request) {
	who, secret := r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	if r.PostFormValue("grant_type") != "client_credentials" || !strings.HasSuffix(r.PostFormValue("scope"), "/.default") || secret != who+"'s own secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	token := rand.Text()
	c.tokens[token] = who
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3599})
}

func (c *cloud) manage(w http.ResponseWriter, r *http.Request) {
	who := c.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	a := c.accounts[r.PathValue("account")]
	var body struct{ KeyName, KeyType string }
	switch {
	case who == "":
		w.WriteHeader(http.StatusUnauthorized)
		return
	case who != "keywright":
		w.WriteHeader(http.StatusForbidden)
		return
	case a == nil:
		w.WriteHeader(http.StatusNotFound)
		return
	case r.URL.Query().Get("api-version") == "":
		w.WriteHeader(http.StatusBadRequest)
		return
	case r.PathValue("action") == "listKeys":
	case r.PathValue("action") == "regenerateKey" && json.NewDecoder(r.Body).Decode(&body) == nil && a.keys[body.KeyName] != "":
		a.keys[body.KeyName], a.made[body.KeyName] = newKey(), time.Now()
	case r.PathValue("action") == "regenerateKeys" && json.NewDecoder(r.Body).Decode(&body) == nil && a.keys[body.KeyType] != "":
		a.keys[body.KeyType] = newKey()
	default:
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if c.kind != "azure-storage" {
		_ = json.NewEncoder(w).Encode(map[string]string{"keyName": r.PathValue("account"), "primaryKey": a.keys["PrimaryKey"], "secondaryKey": a.keys["SecondaryKey"]})
		return
	}
	keys := []map[string]any{{"keyName": "kerb1", "value": newKey(), "permissions": "FULL"}}
	for _, name := range []string{"key2", "key1"} {
		keys = append(keys, map[string]any{"keyName": name, "value": a.keys[name], "permissions": "FULL", "creationTime": a.made[name]})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
}

// signed reports whether one of the account's keys made the signature.
func (a *account) signed(text, signature string, decode bool) bool {
	for _, key := range a.keys {
		raw := []byte(key)
		if decode {
			raw, _ = base64.StdEncoding.DecodeString(key)
		}
		m := hmac.New(sha256.New, raw)
		m.Write([]byte(text))
		if base64.StdEncoding.EncodeToString(m.Sum(nil)) == signature {
			return true
		}
	}
	return false
}

func (c *cloud) blob(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("account")
	a := c.accounts[name]
	who, signature, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "SharedKey "), ":")
	// As the page on SharedKey describes it, for a request without content.
	text := "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:" + r.Header.Get("X-Ms-Date") + "\nx-ms-version:" + r.Header.Get("X-Ms-Version") + "\n/" + name + r.URL.EscapedPath()
	for _, p := range []string{"comp", "maxresults"} {
		text += "\n" + p + ":" + r.URL.Query().Get(p)
	}
	switch {
	case a == nil || who != name:
		w.WriteHeader(http.StatusBadRequest)
	case a.locked:
		w.Header().Set("x-ms-error-code", "AuthorizationFailure")
		w.WriteHeader(http.StatusForbidden)
	case !a.signed(text, signature, true):
		w.Header().Set("x-ms-error-code", "AuthenticationFailed")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<Error><AuthenticationErrorDetail>The MAC signature found in the HTTP request is not the same as any computed signature.</AuthenticationErrorDetail></Error>")
	}
}

func (c *cloud) bus(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(strings.TrimPrefix(r.Header.Get("Authorization"), "SharedAccessSignature "))
	a := c.accounts[q.Get("skn")]
	expiry, bad := strconv.ParseInt(q.Get("se"), 10, 64)
	switch {
	case err != nil || bad != nil || time.Now().After(time.Unix(expiry, 0)):
		w.WriteHeader(http.StatusBadRequest)
	case a != nil && a.locked:
		http.Error(w, "40100: Unauthorized : Unauthorized access for 'Manage' operation", http.StatusUnauthorized)
	case a == nil || !a.signed(url.QueryEscape(q.Get("sr"))+"\n"+q.Get("se"), q.Get("sig"), false):
		http.Error(w, "40103: Invalid authorization token signature", http.StatusUnauthorized)
	}
}

func (c *cloud) ownKeys(w http.ResponseWriter, r *http.Request) {
	a := c.accounts[r.PathValue("account")]
	switch {
	case r.Header.Get("X-Key") == "sure guest's own secret":
		w.WriteHeader(http.StatusForbidden)
	case r.Header.Get("X-Key") != "sure keywright's own secret":
		w.WriteHeader(http.StatusUnauthorized)
	case a == nil || r.Method == http.MethodPost && a.keys[r.PathValue("slot")] == "":
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPost:
		a.keys[r.PathValue("slot")] = newKey()
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": map[string]any{"a/key": map[string]string{"value": a.keys["a/key"]}, "b~key": map[string]string{"value": a.keys["b~key"]}}})
	}
}

func (c *cloud) whoami(w http.ResponseWriter, r *http.Request) {
	for name, a := range c.accounts {
		for _, key := range a.keys {
			if r.Header.Get("X-Key") == "sure "+key {
				if a.locked {
					w.WriteHeader(http.StatusLocked)
					return
				}
				if a.becomes != "" {
					name = a.becomes
				}
				_ = json.NewEncoder(w).Encode(map[string]any{"who": []string{name}})
				return
			}
		}
	}
	w.WriteHeader(http.StatusUnauthorized)
}

func (c *cloud) target(address string) *rotator.Target {
	config := map[string]any{"kind": c.kind, "tls": map[string]string{"ca": c.ca}}
	base := "https://" + address
	switch c.kind {
	case "http":
		config["http"] = map[string]any{"system": "the fake", "slots": slots["http"], "values": "/keys/{slot}/value", "identity": "/who/0", "auth": map[string]any{"header": "X-Key", "prefix": "sure "},
			"list": map[string]string{"url": base + "/own/{account}/keys"}, "regenerate": map[string]string{"url": base + "/own/{account}/keys/{slot}"}, "login": map[string]string{"url": base + "/own/whoami"}}
	default:
		azure := map[string]string{"tenant": "tenant-1", "subscription": "sub-1", "resourceGroup": "group.1", "login": base, "management": base, "data": base + "/bus"}
		if c.kind == "azure-storage" {
			azure["data"] = base + "/blob/{account}"
		} else {
			azure["namespace"] = "space-1"
		}
		config["azure"] = azure
	}
	text, err := json.Marshal(config)
	if err != nil {
		panic(err) // strings always encode
	}
	return &rotator.Target{Config: text, Admin: rotator.Credential{Account: "keywright", Value: redact.Bytes("keywright's own secret")}}
}

func (c *cloud) with(name string, f func(*account)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.accounts[name])
}

var serial atomic.Int64

func (c *cloud) make(_ *testing.T, n int) (made []rotator.Credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range n {
		name := "account" + strconv.FormatInt(serial.Add(1), 10)
		if c.kind == "http" {
			name += rotatortest.HostileName
		}
		a := &account{keys: map[string]string{}, made: map[string]time.Time{}}
		for _, slot := range slots[c.kind] {
			a.keys[slot], a.made[slot] = newKey(), time.Now()
		}
		c.accounts[name] = a
		made = append(made, rotator.Credential{Account: name, Slot: slots[c.kind][0], Value: redact.Bytes(a.keys[slots[c.kind][0]])})
	}
	return made
}

func (c *cloud) subject() rotatortest.Subject {
	s := rotatortest.Subject{
		Rotator:    dualkey.New(),
		Endpoints:  []string{strings.TrimPrefix(c.server.URL, "https://")},
		Strategies: []rotator.Strategy{rotator.TwoKey},
		Target:     func(_ *testing.T, addresses []string) *rotator.Target { return c.target(addresses[0]) },
		Make:       c.make,
		Login: func(_ context.Context, _ string, cred rotator.Credential) (ok bool, err error) {
			c.with(cred.Account, func(a *account) {
				if a.locked {
					err = fmt.Errorf("locked")
				}
				for _, key := range a.keys {
					ok = ok || key == string(cred.Value.Reveal())
				}
			})
			return ok, err
		},
		Snapshot: func(_ *testing.T, name string) string { return name },
		Log: func(*testing.T) string {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.log.String()
		},
		Absent: "nobody",
		Powerless: func(*testing.T) rotator.Credential {
			return rotator.Credential{Account: "guest", Value: redact.Bytes("guest's own secret")}
		},
		LockOut: func(_ *testing.T, name string) func() {
			c.with(name, func(a *account) { a.locked = true })
			return func() { c.with(name, func(a *account) { a.locked = false }) }
		},
		Broken:     json.RawMessage(`{"kind":"azure-storage","azure":{"tenant":"a/b","namespace":"n"},"http":{},"tls":{"ca":"none"}}`),
		Complaints: []string{"tenant", "subscription", "namespace", "http", "PEM"},
	}
	if c.kind == "http" {
		s.Shadow = func(_ *testing.T, cred rotator.Credential) func() {
			c.with(cred.Account, func(a *account) { a.becomes = "somebody else" })
			return func() { c.with(cred.Account, func(a *account) { a.becomes = "" }) }
		}
		s.Broken = json.RawMessage(`{"kind":"http","http":{"slots":["a","a"],"list":{"url":"http://x"},"values":"v"}}`)
		s.Complaints = []string{"system", "slots", "list.url", "regenerate.url", "values", "identity"}
	}
	return s
}

func TestConformance(t *testing.T) {
	for _, kind := range []string{"azure-storage", "azure-service-bus", "azure-event-hubs", "http"} {
		t.Run(kind, func(t *testing.T) { rotatortest.Run(t, newCloud(t, kind).subject()) })
	}
}

// The key in use is never regenerated, whatever the order says.
func TestTheKeyInUseSurvives(t *testing.T) {
	c := newCloud(t, "azure-storage")
	target := c.target(strings.TrimPrefix(c.server.URL, "https://"))
	used := c.make(t, 1)[0]
	same := rotator.Change{Credential: rotator.Credential{Account: used.Account, Slot: used.Slot}, Keep: &used}
	if _, err := dualkey.New().Create(t.Context(), target, same); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("the slot in use: %v", err)
	}
	// Somebody swapped the keys since: the value in use is in the other slot now.
	c.with(used.Account, func(a *account) { a.keys["key1"], a.keys["key2"] = a.keys["key2"], a.keys["key1"] })
	swapped := rotator.Change{Credential: rotator.Credential{Account: used.Account, Slot: "key2"}, Keep: &used}
	if _, err := dualkey.New().Create(t.Context(), target, swapped); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("swapped keys: %v", err)
	}
	if err := dualkey.New().Revoke(t.Context(), target, rotator.Change{Credential: used, Keep: &used}); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("revoking what is kept: %v", err)
	}
	if logins, err := dualkey.New().Probe(t.Context(), target, used); err != nil || logins.Verdict() != rotator.Accepted {
		t.Errorf("the key in use: %+v, %v", logins, err)
	}
	if err := dualkey.New().Set(t.Context(), target, rotator.Change{Credential: used}); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("setting a value: %v", err)
	}
}

// A key whose value is unknown, because the reply got lost, is discarded by its slot.
func TestDiscardBySlot(t *testing.T) {
	c := newCloud(t, "azure-service-bus")
	target := c.target(strings.TrimPrefix(c.server.URL, "https://"))
	used := c.make(t, 1)[0]
	before := ""
	c.with(used.Account, func(a *account) { before = a.keys["SecondaryKey"] })
	if err := dualkey.New().Revoke(t.Context(), target, rotator.Change{Credential: rotator.Credential{Account: used.Account, Slot: "SecondaryKey"}, Keep: &used}); err != nil {
		t.Fatal(err)
	}
	c.with(used.Account, func(a *account) {
		if a.keys["SecondaryKey"] == before || a.keys["PrimaryKey"] != string(used.Value.Reveal()) {
			t.Error("the wrong key was regenerated, or none")
		}
	})
}

func TestPage(t *testing.T) {
	rotatortest.Page(t, dualkey.New(), "two-keys.md", 3)
	if err := dualkey.New().Check(json.RawMessage(`{"kind":"ftp"}`)); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}
