package rotatortest_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// keypad is a small real system, served over HTTP on loopback: it keeps the digests of the codes that open doors. It is what the worked
// example rotates.
type keypad struct {
	id  string
	url string

	mu       sync.Mutex
	accounts map[string]*keypadAccount
	sessions map[string]keypadSession
	breached map[string]bool
	log      strings.Builder
	next     int
}

type keypadAccount struct {
	ID     string   `json:"id"`
	Hashes []string `json:"hashes"`
	Doors  []string `json:"doors"`
	// Keys are made by the system itself: two slots.
	Keys   map[string]string `json:"keys"`
	admin  bool
	locked bool
	// becomes is the account that logins really become.
	becomes string
}

type keypadSession struct{ ID, Account, Address string }

func digest(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

func startKeypad(t *testing.T) *keypad {
	k := &keypad{id: "keypad-" + rand.Text(), accounts: map[string]*keypadAccount{}, sessions: map[string]keypadSession{}, breached: map[string]bool{}}
	k.make("porter", "porter's own code").admin = true
	k.make("guest", "guest's own code")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /accounts/{name}", k.get)
	mux.HandleFunc("PUT /accounts/{name}", k.put)
	mux.HandleFunc("POST /accounts/{name}/keys/{slot}", k.regenerate)
	mux.HandleFunc("GET /whoami", k.whoami)
	mux.HandleFunc("POST /sessions", k.openSession)
	mux.HandleFunc("GET /sessions/{id}", k.useSession)
	mux.HandleFunc("GET /accounts/{name}/sessions", k.listSessions)
	mux.HandleFunc("DELETE /accounts/{name}/sessions", k.endSessions)
	server := httptest.NewServer(k.logging(mux))
	t.Cleanup(server.Close)
	k.url = server.URL
	return k
}

func (k *keypad) address() string { return strings.TrimPrefix(k.url, "http://") }

// make adds an account. It locks nothing: callers of a running system do.
func (k *keypad) make(name, value string) *keypadAccount {
	k.next++
	a := &keypadAccount{ID: strconv.Itoa(k.next), Hashes: []string{digest(value)}, Doors: []string{"front", "yard"},
		Keys: map[string]string{"key1": rand.Text(), "key2": rand.Text()}}
	k.accounts[name] = a
	return a
}

// with changes an account from outside, as its owner would.
func (k *keypad) with(name string, f func(*keypadAccount)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k.accounts[name])
}

func (k *keypad) logging(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		k.mu.Lock()
		fmt.Fprintf(&k.log, "%s %s %s\n", r.Method, r.URL, body)
		k.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// login answers for the account of the request's credential, or 0 and the status to give.
func (k *keypad) login(r *http.Request) (name string, a *keypadAccount, status int) {
	user, code, _ := r.BasicAuth()
	name, err := url.PathUnescape(user) // colons end a user's name in basic authentication
	a = k.accounts[name]
	switch {
	case err != nil || a == nil:
		return "", nil, http.StatusUnauthorized
	case a.locked:
		return "", nil, http.StatusLocked
	case !slices.Contains(a.Hashes, digest(code)) && a.Keys["key1"] != code && a.Keys["key2"] != code:
		return "", nil, http.StatusUnauthorized
	case a.becomes != "":
		return a.becomes, k.accounts[a.becomes], 0
	}
	return name, a, 0
}

// porter lets administrators on.
func (k *keypad) porter(r *http.Request) (status int) {
	_, a, status := k.login(r)
	if status == 0 && !a.admin {
		return http.StatusForbidden
	}
	return status
}

func (k *keypad) get(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.accounts[r.PathValue("name")]
	if status := k.porter(r); status != 0 {
		w.WriteHeader(status)
	} else if a == nil {
		w.WriteHeader(http.StatusNotFound)
	} else {
		_ = json.NewEncoder(w).Encode(map[string]any{"system": k.id, "account": a})
	}
}

// put replaces the digests of an account, unless the request's deadline is over.
func (k *keypad) put(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Hashes []string  `json:"hashes"`
		Doors  *[]string `json:"doors"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.accounts[r.PathValue("name")]
	deadline, err := time.Parse(time.RFC3339Nano, r.Header.Get("Deadline"))
	switch status := k.porter(r); {
	case status != 0:
		w.WriteHeader(status)
	case a == nil:
		w.WriteHeader(http.StatusNotFound)
	case err == nil && time.Now().After(deadline):
		w.WriteHeader(http.StatusRequestTimeout)
	case slices.ContainsFunc(body.Hashes, func(h string) bool { return k.breached[h] }):
		w.WriteHeader(http.StatusUnprocessableEntity)
	default:
		a.Hashes = body.Hashes
		if body.Doors != nil {
			a.Doors = *body.Doors
		}
	}
}

// regenerate puts a new value into a slot and answers with it.
func (k *keypad) regenerate(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.accounts[r.PathValue("name")]
	if status := k.porter(r); status != 0 {
		w.WriteHeader(status)
	} else if a == nil || a.Keys[r.PathValue("slot")] == "" {
		w.WriteHeader(http.StatusNotFound)
	} else {
		a.Keys[r.PathValue("slot")] = rand.Text()
		_ = json.NewEncoder(w).Encode(a.Keys[r.PathValue("slot")])
	}
}

func (k *keypad) whoami(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, a, status := k.login(r)
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"system": k.id, "id": a.ID})
}

func (k *keypad) openSession(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	name, _, status := k.login(r)
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	id := rand.Text()
	k.sessions[id] = keypadSession{ID: id, Account: name, Address: r.RemoteAddr}
	_, _ = io.WriteString(w, id)
}

func (k *keypad) useSession(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.sessions[r.PathValue("id")]; !ok {
		w.WriteHeader(http.StatusNotFound)
	}
}

func (k *keypad) listSessions(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if status := k.porter(r); status != 0 {
		w.WriteHeader(status)
		return
	}
	found := []keypadSession{}
	for _, s := range k.sessions {
		if s.Account == r.PathValue("name") {
			found = append(found, s)
		}
	}
	_ = json.NewEncoder(w).Encode(found)
}

func (k *keypad) endSessions(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if status := k.porter(r); status != 0 {
		w.WriteHeader(status)
		return
	}
	n := 0
	for id, s := range k.sessions {
		if s.Account == r.PathValue("name") {
			delete(k.sessions, id)
			n++
		}
	}
	_, _ = fmt.Fprint(w, n)
}
