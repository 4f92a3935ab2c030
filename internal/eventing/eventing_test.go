package eventing_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/event"
	"github.com/keywright/keywright/internal/eventing"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

// world is an installation with the eventing service; nothing is delivered in it.
type world struct {
	*guardtest.World
	*eventing.Service
	endpoint redact.String
	other    *vault.Vault
}

var code = regexp.MustCompile(`"validationCode":"([^"]*)"`)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: guardtest.New(t, guardtest.Options{})}
	events, err := event.New(event.Config{Store: w.Store, Keys: w.Keys, Clock: w.Clock, Network: event.Network{Loopback: true},
		Links: event.Links{Vault: func(name string) string { return "https://" + name }, Validation: func(id, code string) string { return "https://x/" }, Origin: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if w.Service, err = eventing.New(eventing.Config{Guard: w.Guard, Store: w.Store, Events: events}); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuses" {
			rw.WriteHeader(http.StatusTeapot)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if m := code.FindSubmatch(body); m != nil {
			fmt.Fprintf(rw, `{"validationResponse":%q}`, m[1])
		}
	}))
	t.Cleanup(s.Close)
	w.endpoint = redact.String(s.URL)
	w.other = w.AddVault(w.Vault.Tenant, w.Vault.Subscription, "Other")
	return w
}

func (w *world) spec(name string) event.Spec {
	return event.Spec{Name: name, Endpoint: w.endpoint + "/hook?code=CANARY"}
}

// caller has roles at both vaults.
func (w *world) caller(roles ...string) *guard.Caller {
	c := w.Caller(roles...)
	for _, role := range roles {
		w.Grant(c, role, func(g *principal.Grant) { g.Scope = authz.VaultScope(w.other).String() })
	}
	return c
}

// verbs are all that the service does about the subscription "hook".
func (w *world) verbs(v *vault.Vault, roles ...string) map[string]error {
	c := w.caller(roles...)
	errs := make(map[string]error)
	_, errs["list"] = w.List(w.Ctx, w.Call(c), v)
	_, errs["get"] = w.Get(w.Ctx, w.Call(c), v, "hook")
	_, errs["dead letters"] = w.DeadLetters(w.Ctx, w.Call(c), v, "hook", 0, 10)
	_, errs["replay"] = w.Replay(w.Ctx, w.Call(c), v, "hook", 0)
	_, errs["validate"] = w.Validate(w.Ctx, w.Call(c), v, "hook")
	_, errs["create"] = w.Create(w.Ctx, w.Call(c), v, w.spec("hook"))
	errs["delete"] = w.Delete(w.Ctx, w.Call(c), v, "hook")
	return errs
}

func TestWhoMay(t *testing.T) {
	w := newWorld(t)
	owner := w.caller(authz.Owner)
	if _, err := w.Create(w.Ctx, w.Call(owner), w.Vault, w.spec("hook")); err != nil {
		t.Fatal(err)
	}
	for what, err := range w.verbs(w.Vault, authz.SecretsUser) {
		if !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s by somebody who may read secrets: %v, want forbidden", what, err)
		}
	}
	for what, err := range w.verbs(w.Vault, authz.Reader) {
		reads := what == "list" || what == "get" || what == "dead letters"
		if reads && err != nil || !reads && !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s by a reader: %v", what, err)
		}
	}
	for what, err := range w.verbs(w.Vault, authz.Owner) {
		if what == "create" {
			if !fault.Is(err, fault.Conflict) {
				t.Errorf("a second subscription of the name: %v, want a conflict", err)
			}
		} else if err != nil {
			t.Errorf("%s by the owner: %v", what, err)
		}
	}
}

// A subscription is one vault's: at another it does not exist.
func TestSubscriptionsBelongToTheirVault(t *testing.T) {
	w := newWorld(t)
	owner := w.caller(authz.Owner)
	if _, err := w.Create(w.Ctx, w.Call(owner), w.Vault, w.spec("hook")); err != nil {
		t.Fatal(err)
	}
	for what, err := range w.verbs(w.other, authz.Owner) {
		switch what {
		case "list":
			if list, err := w.List(w.Ctx, w.Call(owner), w.other); err != nil || len(list) != 0 {
				t.Errorf("the other vault lists %d, %v", len(list), err)
			}
		case "create":
			if !fault.Is(err, fault.Conflict) {
				t.Errorf("the name at another vault: %v, want a conflict", err)
			}
		default:
			if !fault.Is(err, fault.NotFound) || fault.As(err).Reason != eventing.NotFound {
				t.Errorf("%s at another vault: %v, want not found", what, err)
			}
		}
	}
	if got, err := w.Get(w.Ctx, w.Call(owner), w.Vault, "HOOK"); err != nil || got.State != event.Active {
		t.Errorf("afterwards it is %+v, %v", got, err)
	}
}

func TestEverythingIsRecordedWithoutSecrets(t *testing.T) {
	w := newWorld(t)
	w.Audit.Take()
	for what, err := range w.verbs(w.Vault, authz.Owner) {
		if what == "create" || what == "list" || what == "delete" {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		} else if !fault.Is(err, fault.NotFound) {
			t.Errorf("%s of nothing: %v", what, err)
		}
	}
	text := fmt.Sprintf("%+v %+v", w.Audit.Take(), w.Changes())
	for _, action := range []string{"eventSubscriptions/read", "eventSubscriptions/write", "eventSubscriptions/delete"} {
		if !strings.Contains(text, action) {
			t.Errorf("no record tells of %s: %s", action, text)
		}
	}
	if strings.Contains(text, "CANARY") {
		t.Errorf("a record holds a secret: %s", text)
	}
}

// An endpoint that refuses leaves nothing, and the name is free.
func TestRefusedEndpointsLeaveNothing(t *testing.T) {
	w := newWorld(t)
	owner := w.caller(authz.Owner)
	spec := w.spec("hook")
	spec.Endpoint = w.endpoint + "/refuses?code=CANARY"
	if _, err := w.Create(w.Ctx, w.Call(owner), w.Vault, spec); !fault.Is(err, fault.Conflict) || fault.As(err).Reason != "EndpointValidationFailed" ||
		strings.Contains(err.Error(), "CANARY") {
		t.Fatalf("%v, want a conflict", err)
	}
	if list, err := w.List(w.Ctx, w.Call(owner), w.Vault); err != nil || len(list) != 0 {
		t.Errorf("there are %d subscriptions, %v", len(list), err)
	}
	if sub, err := w.Create(w.Ctx, w.Call(owner), w.Vault, w.spec("hook")); err != nil || sub.State != event.Active {
		t.Errorf("the second try made %+v, %v", sub, err)
	}
	spec.Endpoint = "https://169.254.169.254/?CANARY"
	if _, err := w.Create(w.Ctx, w.Call(owner), w.Vault, spec); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("a metadata service: %v", err)
	}
}
