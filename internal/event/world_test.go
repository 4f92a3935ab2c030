package event_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keywright/keywright/e2e/transcript"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/event"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for something that must happen.
const patience = time.Minute

// world is an installation with the event service.
type world struct {
	*guardtest.World
	now    *clock.Manual
	events *event.Service
	log    *transcript.Buffer
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T) *world {
	t.Helper()
	now := clock.NewManual(noon)
	w := &world{World: guardtest.New(t, guardtest.Options{Clock: now}), now: now, log: &transcript.Buffer{}}
	w.events = w.start(t)
	return w
}

// start opens a service over the world's store.
func (w *world) start(t *testing.T) *event.Service {
	t.Helper()
	s, err := event.New(event.Config{Store: w.Store, Keys: w.Keys, Clock: w.now, Network: event.Network{Loopback: true},
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Jitter: func(time.Duration) time.Duration { return 0 },
		Links: event.Links{Vault: func(name string) string { return "https://" + name + ".vault.test" }, Origin: "events.test",
			Validation: func(id, code string) string { return "https://api.test/validate?id=" + id + "&code=" + code }}})
	if err != nil {
		t.Fatal(err)
	}
	w.Watch(s.Changed)
	s.Start(w.Ctx)
	t.Cleanup(s.Stop)
	return s
}

// endpoint is a receiver of web hooks over TLS.
type endpoint struct {
	*httptest.Server
	t  *testing.T
	ca string

	mu sync.Mutex
	// answer decides about a notification; the default takes it.
	answer func(w http.ResponseWriter, r *delivered)
	// handshake answers a handshake; the default echoes.
	handshake func(w http.ResponseWriter, r *delivered)
	got       chan *delivered
}

// delivered is a request that reached the endpoint.
type delivered struct {
	Method string
	URL    string
	Header http.Header
	Body   []byte
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{t: t, got: make(chan *delivered, 1000), handshake: echo,
		answer: func(w http.ResponseWriter, _ *delivered) { w.WriteHeader(http.StatusOK) }}
	e.Server = httptest.NewTLSServer(http.HandlerFunc(e.serve))
	t.Cleanup(e.Close)
	e.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Certificate().Raw}))
	return e
}

func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	d := &delivered{r.Method, r.URL.String(), r.Header.Clone(), body}
	e.mu.Lock()
	answer, handshake := e.answer, e.handshake
	e.mu.Unlock()
	if r.Method == http.MethodOptions || r.Header.Get("Aeg-Event-Type") == "SubscriptionValidation" {
		handshake(w, d)
		return
	}
	answer(w, d)
	e.got <- d
}

// answers changes how notifications are answered.
func (e *endpoint) answers(fn func(w http.ResponseWriter, r *delivered)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = fn
}

func (e *endpoint) status(code int) {
	e.answers(func(w http.ResponseWriter, _ *delivered) { w.WriteHeader(code) })
}

// next waits for a notification.
func (e *endpoint) next() *delivered {
	e.t.Helper()
	select {
	case d := <-e.got:
		return d
	case <-time.After(patience):
		e.t.Fatal("no event was delivered")
		return nil
	}
}

// question reads the handshake of Event Grid's schema.
func question(d *delivered) (code, link string) {
	var list []struct {
		EventType string
		Data      struct{ ValidationCode, ValidationURL string }
	}
	if json.Unmarshal(d.Body, &list) != nil || len(list) != 1 || list[0].EventType != "Microsoft.EventGrid.SubscriptionValidationEvent" {
		return "", ""
	}
	return list[0].Data.ValidationCode, list[0].Data.ValidationURL
}

// echo answers both handshakes.
func echo(w http.ResponseWriter, d *delivered) {
	if d.Method == http.MethodOptions {
		w.Header().Set("WebHook-Allowed-Origin", d.Header.Get("WebHook-Request-Origin"))
		return
	}
	code, _ := question(d)
	fmt.Fprintf(w, `{"validationResponse":%q}`, code)
}

// add stores a subscription without its handshake.
func (w *world) add(e *endpoint, name string, edit func(*event.Spec)) string {
	w.T.Helper()
	spec := event.Spec{Tenant: w.Vault.Tenant, Name: name, Endpoint: redact.String(e.URL + "/hook"), CA: e.ca}
	if edit != nil {
		edit(&spec)
	}
	row, err := w.events.Prepare(w.Ctx, spec)
	if err != nil {
		w.T.Fatal(err)
	}
	w.Change(func(tx store.Tx) error { return tx.PutEventSubscription(w.Ctx, row) })
	return row.ID
}

// subscribe makes an active subscription.
func (w *world) subscribe(e *endpoint, name string, edit func(*event.Spec)) string {
	w.T.Helper()
	id := w.add(e, name, edit)
	sub, err := w.events.Handshake(w.Ctx, id)
	if err != nil || sub.State != event.Active {
		w.T.Fatalf("the subscription is %+v, %v", sub, err)
	}
	return id
}

const newVersion = "Microsoft.KeyVault.SecretNewVersionCreated"

// emit commits an event about a secret, the n-th, and returns its id.
func (w *world) emit(subject string, n int) string {
	w.T.Helper()
	id := fmt.Sprintf("%032x", n)
	w.Change(func(tx store.Tx) error {
		tx.Emit(store.Event{ID: id, Type: newVersion, Tenant: w.Vault.Tenant, Vault: w.Vault.ID, Subject: subject, At: w.now.Now(),
			Data: []byte(fmt.Sprintf(`{"VaultName":"Shop","ObjectType":"Secret","ObjectName":%q,"Version":%q,"NBF":null,"EXP":1795435200}`, subject, id))})
		return nil
	})
	return "00000000-0000-0000-0000-" + id[20:]
}

// id reads an event's id in either schema.
func (d *delivered) id(t *testing.T) string {
	t.Helper()
	var one struct{ ID string }
	body := bytes.TrimSuffix(bytes.TrimPrefix(d.Body, []byte("[")), []byte("]"))
	if err := json.Unmarshal(body, &one); err != nil {
		t.Fatalf("%s: %v", d.Body, err)
	}
	return one.ID
}

// eventually waits until a condition holds.
func (w *world) eventually(what string, ok func() bool) {
	w.T.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.T.Fatalf("%s did not come about", what)
		}
	}
}

// usage waits until the subscription has so many deliveries.
func (w *world) usage(id string, waiting, dead int) {
	w.T.Helper()
	w.eventually(fmt.Sprintf("that %d wait and %d are dead", waiting, dead), func() bool {
		u, err := w.events.Usage(w.Ctx, id)
		if err != nil {
			w.T.Fatal(err)
		}
		return u == event.Usage{Waiting: waiting, Dead: dead}
	})
}

// due returns when the subscription's next delivery is tried.
func (w *world) due(id string) (at time.Time) {
	w.T.Helper()
	if err := w.Store.View(w.Ctx, func(tx store.Tx) (err error) {
		at, err = tx.NextDelivery(w.Ctx, id)
		return err
	}); err != nil {
		w.T.Fatal(err)
	}
	return at
}

func (w *world) get(name string) *event.Subscription {
	w.T.Helper()
	sub, err := w.events.Get(w.Ctx, w.Vault.Tenant, name)
	if err != nil {
		w.T.Fatal(err)
	}
	return sub
}

// noCanary fails when a secret was logged, or stands in the store in the clear.
func (w *world) noCanary(canary string) {
	w.T.Helper()
	if strings.Contains(w.log.String(), canary) {
		w.T.Errorf("the log shows the secret:\n%s", w.log)
	}
	if err := w.Store.View(w.Ctx, func(tx store.Tx) error {
		rows, err := tx.EventSubscriptions(w.Ctx, "")
		for _, row := range rows {
			if bytes.Contains(row.Doc, []byte(canary)) {
				w.T.Errorf("the store holds the secret: %s", row.Doc)
			}
			for _, dead := range []bool{false, true} {
				list, err := tx.Deliveries(w.Ctx, store.DeliveryQuery{Subscription: row.ID, Dead: dead})
				if err != nil {
					return err
				}
				for _, d := range list {
					if bytes.Contains(d.Doc, []byte(canary)) {
						w.T.Errorf("a delivery holds the secret: %s", d.Doc)
					}
				}
			}
		}
		return err
	}); err != nil {
		w.T.Fatal(err)
	}
}
