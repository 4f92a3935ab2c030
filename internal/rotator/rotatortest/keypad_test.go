package rotatortest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

var serial atomic.Int64

func keypadSubject(t *testing.T, r rotator.Rotator) rotatortest.Subject {
	k := startKeypad(t)
	request := func(ctx context.Context, method, path string, c rotator.Credential) (int, string, error) {
		request, err := http.NewRequestWithContext(ctx, method, k.url+path, nil)
		if err != nil {
			return 0, "", err
		}
		request.SetBasicAuth(url.PathEscape(c.Account), string(c.Value.Reveal()))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return response.StatusCode, string(body), err
	}
	return rotatortest.Subject{
		Rotator:    r,
		Endpoints:  []string{k.address()},
		Strategies: []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating},
		Target: func(t *testing.T, addresses []string) *rotator.Target {
			return &rotator.Target{
				Config: json.RawMessage(fmt.Sprintf(`{"address":%q,"site":"main house"}`, addresses[0])),
				Admin:  rotator.Credential{Account: "porter", Value: redact.Bytes("porter's own code")},
			}
		},
		Make: func(t *testing.T, n int) (made []rotator.Credential) {
			k.mu.Lock()
			defer k.mu.Unlock()
			for range n {
				name := rotatortest.HostileName + strconv.FormatInt(serial.Add(1), 10)
				k.make(name, "first code")
				made = append(made, rotator.Credential{Account: name, Value: redact.Bytes("first code")})
			}
			return made
		},
		Login: func(ctx context.Context, _ string, c rotator.Credential) (bool, error) {
			status, _, err := request(ctx, "GET", "/whoami", c)
			if err == nil && status != http.StatusOK && status != http.StatusUnauthorized {
				err = fmt.Errorf("status %d", status)
			}
			return status == http.StatusOK, err
		},
		Open: func(t *testing.T, _ string, c rotator.Credential) rotatortest.Session {
			status, id, err := request(t.Context(), "POST", "/sessions", c)
			if err != nil || status != http.StatusOK {
				t.Fatalf("opening a session: %d, %v", status, err)
			}
			return &heldSession{k, id}
		},
		Snapshot: func(t *testing.T, name string) (text string) {
			k.with(name, func(a *keypadAccount) { text = fmt.Sprint(a.ID, a.Doors, a.locked, a.becomes) })
			return text
		},
		Log: func(*testing.T) string {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.log.String()
		},
		Absent: "nobody's account",
		Powerless: func(*testing.T) rotator.Credential {
			return rotator.Credential{Account: "guest", Value: redact.Bytes("guest's own code")}
		},
		RefusedValue: func(*testing.T) redact.Bytes {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.breached[digest("known to everybody")] = true
			return redact.Bytes("known to everybody")
		},
		LockOut: func(_ *testing.T, name string) func() {
			k.with(name, func(a *keypadAccount) { a.locked = true })
			return func() { k.with(name, func(a *keypadAccount) { a.locked = false }) }
		},
		Shadow: func(_ *testing.T, c rotator.Credential) func() {
			k.with(c.Account, func(a *keypadAccount) { a.becomes = "guest" })
			return func() { k.with(c.Account, func(a *keypadAccount) { a.becomes = "" }) }
		},
		Unequal: func(_ *testing.T, accounts []string) {
			k.with(accounts[1], func(a *keypadAccount) { a.Doors = append(a.Doors, "vault") })
		},
		Broken:     json.RawMessage(`{"address":"nowhere"}`),
		Complaints: []string{"address", "site"},
	}
}

type heldSession struct {
	k  *keypad
	id string
}

func (s *heldSession) Alive(context.Context) bool {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	_, ok := s.k.sessions[s.id]
	return ok
}

func (s *heldSession) Close() {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	delete(s.k.sessions, s.id)
}

func TestKeypad(t *testing.T) { rotatortest.Run(t, keypadSubject(t, &keypadRotator{})) }

// brokenVariable names the promise that TestBroken breaks; TestSuiteCatches sets it for a copy of the test program.
const brokenVariable = "KEYWRIGHT_ROTATORTEST_BROKEN"

// keysVariable asks TestBroken for the rotator of keys.
const keysVariable = "KEYWRIGHT_ROTATORTEST_KEYS"

func TestBroken(t *testing.T) {
	promise := os.Getenv(brokenVariable)
	if promise == "" {
		t.Skip("runs only below TestSuiteCatches")
	}
	if os.Getenv(keysVariable) != "" {
		rotatortest.Run(t, keypadKeysSubject(t, promise))
		return
	}
	rotatortest.Run(t, keypadSubject(t, &keypadRotator{broken: promise}))
}

// A suite that nothing fails proves nothing: each promise is broken once, and the case that is there for it must fail.
func TestSuiteCatches(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT PASSED: -short")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for promise, where := range map[string]string{
		"unknown members":         "configuration",
		"first mistake only":      "configuration",
		"identity by address":     "single/preflight",
		"preflight changes":       "single/preflight",
		"current unchecked":       "single/preflight refuses/a present credential that does not work",
		"unequal pair":            "alternating/preflight refuses/an unequal pair",
		"connections stay":        "single/whole path",
		"attributes":              "single/whole path",
		"keep dropped":            "dual/whole path",
		"revoke forgets":          "dual/every verb twice",
		"absent errs":             "single/refusals/an absent account",
		"value in error":          "single/refusals",
		"claims too much":         "single/lost replies/Set",
		"errors swallowed":        "single/cut requests/Set",
		"late effect":             "single/late requests",
		"no deadline":             "single/late requests",
		"down is rejected":        "probe/a target that is down",
		"shadow":                  "probe/an account that is shadowed",
		"sessions end":            "single/sessions survive",
		"no evidence is evidence": "single/target down",
		"terminates nothing":      "sessions",
		"plaintext":               "log",
		"wrong slot":              "two-key/whole path",
	} {
		t.Run(promise, func(t *testing.T) {
			t.Parallel()
			run := []string{"^TestBroken$"}
			for _, part := range strings.Split(where, "/") {
				run = append(run, "^"+strings.ReplaceAll(part, " ", "_")+"$")
			}
			if where == "log" { // the log needs something to look at
				run = []string{"^TestBroken$", "^(single|log)$", "^(whole_path|)$"}
			}
			cmd := exec.CommandContext(t.Context(), self, "-test.run", strings.Join(run, "/"))
			cmd.Env = append(os.Environ(), brokenVariable+"="+promise)
			if strings.HasPrefix(where, "two-key/") {
				cmd.Env = append(cmd.Env, keysVariable+"=1")
			}
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the suite did not notice:\n%s", out)
			}
			failed := "--- FAIL: TestBroken/" + strings.ReplaceAll(where, " ", "_")
			lines := strings.Split(string(out), "\n")
			if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), failed) }) {
				t.Errorf("%s did not fail, something else did:\n%s", where, out)
			}
		})
	}
}
