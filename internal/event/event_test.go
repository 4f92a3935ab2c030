package event_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/event"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
)

const canary = "CANARY-7e1f"

// secretive gives a subscription secrets of both kinds.
func secretive(s *event.Spec) {
	s.Endpoint += "?code=" + canary
	s.Headers = map[string]redact.String{"Authorization": "Bearer " + canary}
}

func TestEventGridSchema(t *testing.T) {
	w := newWorld(t)
	e := newEndpoint(t)
	var shaken *delivered
	e.handshake = func(rw http.ResponseWriter, d *delivered) { shaken = d; echo(rw, d) }
	id := w.subscribe(e, "shop-Events", secretive)
	if shaken.Header.Get("Aeg-Subscription-Name") != "SHOP-EVENTS" || shaken.Header.Get("Authorization") != "Bearer "+canary || shaken.Method != "POST" {
		t.Errorf("the handshake was %+v", shaken)
	}
	w.emit("Db-Password", 7)
	d := e.next()
	want := `[{"id":"00000000-0000-0000-0000-000000000007","topic":"` + w.Vault.Scope() + `","subject":"Db-Password","eventType":"` + newVersion +
		`","eventTime":"2026-11-22T12:00:00Z","data":{"Id":"https://Shop.vault.test/secrets/Db-Password/00000000000000000000000000000007","VaultName":"Shop",` +
		`"ObjectType":"Secret","ObjectName":"Db-Password","Version":"00000000000000000000000000000007","NBF":null,"EXP":1795435200},"dataVersion":"1","metadataVersion":"1"}]`
	if string(d.Body) != want {
		t.Errorf("the body is\n%s\nwant\n%s", d.Body, want)
	}
	for name, value := range map[string]string{"Content-Type": "application/json; charset=utf-8", "Aeg-Event-Type": "Notification", "Aeg-Subscription-Name": "SHOP-EVENTS",
		"Aeg-Delivery-Count": "0", "Aeg-Data-Version": "1", "Aeg-Metadata-Version": "1", "Authorization": "Bearer " + canary} {
		if got := d.Header.Get(name); got != value {
			t.Errorf("the header %s is %q, want %q", name, got, value)
		}
	}
	if d.URL != "/hook?code="+canary {
		t.Errorf("the request went to %s", d.URL)
	}
	w.usage(id, 0, 0)
	w.noCanary(canary)
}

func TestCloudEventsSchema(t *testing.T) {
	w := newWorld(t)
	e := newEndpoint(t)
	var shaken *delivered
	e.handshake = func(rw http.ResponseWriter, d *delivered) {
		shaken = d
		rw.Header().Set("WebHook-Allowed-Origin", "*")
		rw.Header().Set("WebHook-Allowed-Rate", "6000")
	}
	w.subscribe(e, "cloud", func(s *event.Spec) { s.Schema = event.CloudEvents; secretive(s) })
	if shaken.Method != "OPTIONS" || shaken.Header.Get("WebHook-Request-Origin") != "events.test" || shaken.Header.Get("Authorization") == "" ||
		!strings.HasPrefix(shaken.Header.Get("WebHook-Request-Callback"), "https://api.test/validate?") {
		t.Errorf("the handshake was %+v", shaken)
	}
	if rate := w.get("cloud").Rate; rate != 6000 {
		t.Errorf("the rate is %d", rate)
	}
	w.emit("Db-Password", 7)
	d := e.next()
	want := `{"specversion":"1.0","id":"00000000-0000-0000-0000-000000000007","source":"` + w.Vault.Scope() + `","type":"` + newVersion +
		`","subject":"Db-Password","time":"2026-11-22T12:00:00Z","data":{"Id":"https://Shop.vault.test/secrets/Db-Password/00000000000000000000000000000007","VaultName":"Shop",` +
		`"ObjectType":"Secret","ObjectName":"Db-Password","Version":"00000000000000000000000000000007","NBF":null,"EXP":1795435200}}`
	if string(d.Body) != want {
		t.Errorf("the body is\n%s\nwant\n%s", d.Body, want)
	}
	if got := d.Header.Get("Content-Type"); got != "application/cloudevents+json; charset=utf-8" {
		t.Errorf("the content type is %q", got)
	}
	w.noCanary(canary)
}

func TestHandshakesThatFail(t *testing.T) {
	for about, c := range map[string]struct {
		schema event.Schema
		answer func(http.ResponseWriter, *delivered)
	}{
		"status 404": {event.EventGrid, func(rw http.ResponseWriter, _ *delivered) { rw.WriteHeader(404) }},
		"status 204": {event.EventGrid, func(rw http.ResponseWriter, _ *delivered) { rw.WriteHeader(204) }},
		"status 302": {event.EventGrid, func(rw http.ResponseWriter, _ *delivered) {
			http.Redirect(rw, &http.Request{URL: &url.URL{}}, "/else", http.StatusFound)
		}},
		"another validation": {event.EventGrid, func(rw http.ResponseWriter, _ *delivered) { fmt.Fprint(rw, `{"validationResponse":"x"}`) }},
		"another origin":     {event.CloudEvents, func(rw http.ResponseWriter, _ *delivered) { rw.Header().Set("WebHook-Allowed-Origin", "x") }},
		"status 405":         {event.CloudEvents, func(rw http.ResponseWriter, _ *delivered) { rw.WriteHeader(405) }},
		"rate": {event.CloudEvents, func(rw http.ResponseWriter, _ *delivered) {
			rw.Header().Set("WebHook-Allowed-Origin", "*")
			rw.Header().Set("WebHook-Allowed-Rate", "-1")
		}},
	} {
		t.Run(about, func(t *testing.T) {
			w := newWorld(t)
			e := newEndpoint(t)
			e.handshake = c.answer
			id := w.add(e, "shop", func(s *event.Spec) { s.Schema = c.schema; secretive(s) })
			_, err := w.events.Handshake(w.Ctx, id)
			if !fault.Is(err, fault.Conflict) || fault.As(err).Reason != "EndpointValidationFailed" || !strings.Contains(err.Error(), about) || strings.Contains(err.Error(), canary) {
				t.Errorf("%v, want a conflict that tells of %q", err, about)
			}
			if sub := w.get("shop"); sub.State != event.Failed || sub.Detail == "" {
				t.Errorf("the subscription is %s (%s)", sub.State, sub.Detail)
			}
			w.emit("db", 1)
			// A second handshake may succeed.
			e.handshake = echo
			if sub, err := w.events.Handshake(w.Ctx, id); err != nil || sub.State != event.Active {
				t.Errorf("the second handshake: %+v, %v", sub, err)
			}
			w.noCanary(canary)
		})
	}
	w := newWorld(t)
	e := newEndpoint(t)
	id := w.add(e, "untrusted", func(s *event.Spec) { s.CA = ""; secretive(s) })
	if _, err := w.events.Handshake(w.Ctx, id); !fault.Is(err, fault.Conflict) || strings.Contains(err.Error(), canary) {
		t.Errorf("an endpoint with an unknown certificate: %v", err)
	}
	if _, err := w.events.Handshake(w.Ctx, "0123"); !fault.Is(err, fault.NotFound) {
		t.Errorf("the handshake of nothing: %v", err)
	}
}

func TestHandshakeByHand(t *testing.T) {
	for _, schema := range []event.Schema{event.EventGrid, event.CloudEvents} {
		w := newWorld(t)
		e := newEndpoint(t)
		var link *url.URL
		e.handshake = func(rw http.ResponseWriter, d *delivered) {
			text := d.Header.Get("WebHook-Request-Callback")
			if d.Method == "POST" {
				_, text = question(d)
			}
			var err error
			if link, err = url.Parse(text); err != nil {
				t.Error(err)
			}
		}
		id := w.add(e, "shop", func(s *event.Spec) { s.Schema = schema })
		sub, err := w.events.Handshake(w.Ctx, id)
		if err != nil || sub.State != event.Awaiting {
			t.Fatalf("the subscription is %+v, %v", sub, err)
		}
		w.emit("db", 1) // too early
		code := link.Query().Get("code")
		if link.Query().Get("id") != id || code == "" {
			t.Fatalf("the link is %s", link)
		}
		for _, c := range [][2]string{{id, "x"}, {id, ""}, {"x", code}, {id, code + "x"}} {
			if err := w.events.Validate(w.Ctx, c[0], c[1]); !fault.Is(err, fault.NotFound) {
				t.Errorf("%v: %v, want not found", c, err)
			}
		}
		w.now.Advance(5*time.Minute - 1)
		if err := w.events.Validate(w.Ctx, id, code); err != nil {
			t.Fatal(err)
		}
		if err := w.events.Validate(w.Ctx, id, code); !fault.Is(err, fault.NotFound) {
			t.Errorf("the link works twice: %v", err)
		}
		want := w.emit("db", 2)
		if got := e.next().id(t); got != want {
			t.Errorf("the event %s was delivered, want the one after the handshake", got)
		}
	}
}

func TestHandshakeByHandEnds(t *testing.T) {
	w := newWorld(t)
	e := newEndpoint(t)
	code := ""
	e.handshake = func(rw http.ResponseWriter, d *delivered) { code, _ = question(d); rw.WriteHeader(202) }
	id := w.add(e, "shop", nil)
	if _, err := w.events.Handshake(w.Ctx, id); err != nil {
		t.Fatal(err)
	}
	w.now.Advance(5 * time.Minute)
	if err := w.events.Validate(w.Ctx, id, code); !fault.Is(err, fault.NotFound) {
		t.Errorf("after five minutes: %v, want not found", err)
	}
	w.now.Advance(time.Minute)
	if err := w.events.Sweep(w.Ctx); err != nil || w.get("shop").State != event.Failed {
		t.Errorf("the subscription is %s, %v", w.get("shop").State, err)
	}
}

// The schedule, attempt by attempt, until the event is a day old.
func TestRetriesFollowTheSchedule(t *testing.T) {
	w := newWorld(t)
	e := newEndpoint(t)
	e.status(500)
	id := w.subscribe(e, "shop", secretive)
	want := w.emit("db", 1)
	waits := []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
		// 22:46:40 have passed; another twelve hours would be too late.
		time.Hour + 13*time.Minute + 20*time.Second}
	for n, wait := range waits {
		d := e.next()
		if d.id(t) != want || d.Header.Get("Aeg-Delivery-Count") != fmt.Sprint(n) {
			t.Fatalf("attempt %d delivered %s with the count %s", n, d.id(t), d.Header.Get("Aeg-Delivery-Count"))
		}
		w.eventually("another attempt", func() bool { return w.due(id).After(w.now.Now()) })
		if due := w.due(id); !due.Equal(w.now.Now().Add(wait)) {
			t.Fatalf("attempt %d is repeated after %s, want %s", n, due.Sub(w.now.Now()), wait)
		}
		w.now.Advance(w.due(id).Sub(w.now.Now()) - time.Second)
		w.events.Wake()
		w.now.Advance(time.Second)
		w.events.Wake()
	}
	w.usage(id, 0, 1)
	select {
	case <-e.got:
		t.Error("there was an attempt too many")
	default:
	}
	dead, err := w.events.DeadLetters(w.Ctx, id, 0, 10)
	if err != nil || len(dead) != 1 {
		t.Fatalf("%+v, %v", dead, err)
	}
	if l := dead[0]; l.DeadLetterReason != "TimeToLiveExceeded" || l.DeliveryAttempts != 11 || l.LastDeliveryOutcome != "InternalServerError" || l.LastHTTPStatusCode != 500 || l.ID != want {
		t.Errorf("the dead letter is %+v", l)
	}
	w.noCanary(canary)
}

func TestWhatIsNotRetried(t *testing.T) {
	for status, reason := range map[int]string{400: "UndeliverableDueToHttpBadRequest", 401: "UndeliverableDueToHttpUnauthorized", 403: "UndeliverableDueToHttpForbidden",
		413: "UndeliverableDueToHttpRequestEntityTooLarge"} {
		w := newWorld(t)
		e := newEndpoint(t)
		e.status(status)
		id := w.subscribe(e, "shop", nil)
		w.emit("db", 1)
		e.next()
		w.usage(id, 0, 1)
		if dead, err := w.events.DeadLetters(w.Ctx, id, 0, 10); err != nil || dead[0].DeadLetterReason != reason || dead[0].DeliveryAttempts != 1 {
			t.Errorf("%d: %+v, %v", status, dead, err)
		}
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	w := newWorld(t)
	e := newEndpoint(t)
	// A redirect is no success, and is not followed.
	e.answers(func(rw http.ResponseWriter, _ *delivered) {
		rw.Header().Set("Location", "/elsewhere")
		rw.WriteHeader(307)
	})
	id := w.subscribe(e, "shop", func(s *event.Spec) { s.MaxAttempts = 2 })
	w.emit("db", 1)
	e.next()
	w.eventually("another attempt", func() bool { return w.due(id).After(w.now.Now()) })
	w.now.Advance(10 * time.Second)
	w.events.Wake()
	if d := e.next(); d.URL != "/hook" {
		t.Errorf("the redirect was followed to %s", d.URL)
	}
	w.usage(id, 0, 1)
	dead, err := w.events.DeadLetters(w.Ctx, id, 0, 10)
	if err != nil || dead[0].DeadLetterReason != "MaxDeliveryAttemptsExceeded" {
		t.Errorf("%+v, %v", dead, err)
	}
}

func TestReplay(t *testing.T) {
	w := newWorld(t)
	e := newEndpoint(t)
	e.status(400)
	id := w.subscribe(e, "shop", nil)
	ids := map[string]bool{w.emit("db", 1): true, w.emit("web", 2): true, w.emit("mail", 3): true}
	w.usage(id, 0, 3)
	for range ids {
		e.next()
	}
	e.status(200)
	dead, err := w.events.DeadLetters(w.Ctx, id, 0, 2)
	if err != nil || len(dead) != 2 {
		t.Fatalf("%v, %v", dead, err)
	}
	if rest, err := w.events.DeadLetters(w.Ctx, id, dead[1].Seq, 10); err != nil || len(rest) != 1 {
		t.Fatalf("%v, %v", rest, err)
	}
	w.now.Advance(48 * time.Hour) // a replayed event counts as new
	replay := func(seq int64) (n int, err error) {
		err = w.Store.Update(w.Ctx, store.NewOp(w.now.Now()), func(tx store.Tx) (err error) {
			n, err = w.events.Replay(w.Ctx, tx, id, seq, w.now.Now())
			return err
		})
		w.events.Wake()
		return n, err
	}
	if _, err := replay(12345); !fault.Is(err, fault.NotFound) {
		t.Errorf("replaying what is not there: %v", err)
	}
	if n, err := replay(dead[1].Seq); n != 1 || err != nil {
		t.Errorf("%d were replayed, %v", n, err)
	}
	if got := e.next(); got.id(t) != dead[1].ID || got.Header.Get("Aeg-Delivery-Count") != "0" {
		t.Errorf("%s was delivered", got.Body)
	}
	w.usage(id, 0, 2)
	if n, err := replay(0); n != 2 || err != nil {
		t.Errorf("%d were replayed, %v", n, err)
	}
	e.next()
	e.next()
	w.usage(id, 0, 0)
}

func TestOrderOfASubject(t *testing.T) {
	w := newWorld(t)
	e := newEndpoint(t)
	first := true
	e.answers(func(rw http.ResponseWriter, d *delivered) {
		if strings.Contains(string(d.Body), `"subject":"db"`) && first {
			first = false
			rw.WriteHeader(500)
		}
	})
	id := w.subscribe(e, "shop", func(s *event.Spec) { s.Concurrency = 1 })
	var db []string
	for n := range 5 {
		db = append(db, w.emit("db", 1+n))
	}
	web := w.emit("web", 9)
	if got := e.next().id(t); got != db[0] {
		t.Fatalf("%s came first", got)
	}
	// The other subject goes on, those of this one wait.
	if got := e.next().id(t); got != web {
		t.Fatalf("%s came second, want the other subject's", got)
	}
	w.eventually("the other subject's end", func() bool { return w.due(id).Equal(noon.Add(10 * time.Second)) })
	w.now.Advance(10 * time.Second)
	w.events.Wake()
	for _, want := range db {
		if got := e.next().id(t); got != want {
			t.Errorf("%s was delivered, want %s", got, want)
		}
	}
	w.usage(id, 0, 0)
}

func TestDeadEndpointsDelayNobody(t *testing.T) {
	w := newWorld(t)
	stuck, good := newEndpoint(t), newEndpoint(t)
	release := make(chan struct{})
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { close(release) }) })
	begun := make(chan struct{}, 100)
	stuck.answers(func(rw http.ResponseWriter, _ *delivered) {
		begun <- struct{}{}
		<-release
	})
	w.subscribe(stuck, "stuck", nil)
	id := w.subscribe(good, "good", nil)
	const events = 40
	for n := range events {
		w.emit(fmt.Sprint("s", n), n+1)
	}
	for range events {
		good.next()
	}
	w.usage(id, 0, 0)
	<-begun
	begin := time.Now()
	done := make(chan struct{})
	go func() { w.events.Stop(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("the service waits for an endpoint that does not answer")
	}
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("stopping took %s", took)
	}
	once.Do(func() { close(release) })
}

// A process that ends at any time loses no event; what it began is delivered by the next one.
func TestNothingIsLostOverARestart(t *testing.T) {
	w := newWorld(t)
	e := newEndpoint(t)
	e.status(500)
	id := w.subscribe(e, "shop", nil)
	want := map[string]bool{w.emit("a", 1): true}
	e.next()
	w.eventually("another attempt", func() bool { return w.due(id).After(w.now.Now()) })
	w.events.Stop()
	want[w.emit("b", 2)] = true
	want[w.emit("c", 3)] = true
	e.status(200)
	w.now.Advance(time.Minute)
	w.events = w.start(t)
	for range want {
		got := e.next().id(t)
		if !want[got] {
			t.Errorf("%s was delivered, or twice", got)
		}
		delete(want, got)
	}
	w.usage(id, 0, 0)
}

func TestRemoval(t *testing.T) {
	w := newWorld(t)
	e := newEndpoint(t)
	e.status(500)
	id := w.subscribe(e, "shop", nil)
	for n := range 20 {
		w.emit(fmt.Sprint("s", n), n+1)
	}
	w.usage(id, 20, 0)
	w.Change(func(tx store.Tx) error {
		row, err := tx.EventSubscription(w.Ctx, id)
		if err != nil {
			return err
		}
		if row, err = event.MarkDeleting(row, w.now.Now()); err != nil {
			return err
		}
		return tx.PutEventSubscription(w.Ctx, row)
	})
	w.emit("later", 99)
	if err := w.events.Sweep(w.Ctx); err != nil {
		t.Fatal(err)
	}
	if list, err := w.events.List(w.Ctx, w.Vault.Tenant); err != nil || len(list) != 0 {
		t.Errorf("there is still %v, %v", list, err)
	}
	w.usage(id, 0, 0)
	if _, err := w.events.Get(w.Ctx, w.Vault.Tenant, "shop"); !fault.Is(err, fault.NotFound) {
		t.Errorf("it is still found: %v", err)
	}
}

func TestSubscriptionsGoWithTheirVault(t *testing.T) {
	w := newWorld(t)
	e := newEndpoint(t)
	v := w.AddVault(w.Vault.Tenant, w.Vault.Subscription, "Short-Lived")
	w.subscribe(e, "kept", nil)
	w.subscribe(e, "gone", func(s *event.Spec) { s.Vault = v.ID })
	w.Change(func(tx store.Tx) error { return tx.DeleteVault(w.Ctx, v.ID) })
	if err := w.events.Sweep(w.Ctx); err != nil {
		t.Fatal(err)
	}
	if list, err := w.events.List(w.Ctx, w.Vault.Tenant); err != nil || len(list) != 1 || list[0].Name != "kept" {
		t.Errorf("there are %v, %v", list, err)
	}
}

// Who asks an active subscription's endpoint again must not make it miss events.
func TestActiveSubscriptionsAreNotAskedAgain(t *testing.T) {
	w := newWorld(t)
	e := newEndpoint(t)
	id := w.subscribe(e, "shop", nil)
	e.handshake = func(rw http.ResponseWriter, _ *delivered) { rw.WriteHeader(500) }
	if sub, err := w.events.Handshake(w.Ctx, id); err != nil || sub.State != event.Active {
		t.Errorf("the subscription is %+v, %v", sub, err)
	}
	w.emit("db", 1)
	e.next()
}

func TestDeadLettersAreKeptForAMonth(t *testing.T) {
	w := newWorld(t)
	e := newEndpoint(t)
	e.status(400)
	id := w.subscribe(e, "shop", nil)
	w.emit("db", 1)
	w.usage(id, 0, 1)
	for _, c := range []struct {
		after time.Duration
		dead  int
	}{{30 * 24 * time.Hour, 1}, {time.Minute, 0}} {
		w.now.Advance(c.after)
		if err := w.events.Sweep(w.Ctx); err != nil {
			t.Fatal(err)
		}
		w.usage(id, 0, c.dead)
	}
}

// The cursor moves on also when nobody wants the events, or else the journal could not be pruned.
func TestTheCursorMovesWithoutSubscriptions(t *testing.T) {
	w := newWorld(t)
	for n := range 300 {
		w.emit("db", n+1)
	}
	w.eventually("the end of the journal", func() bool {
		w.now.Advance(time.Minute)
		w.events.Wake()
		w.emit("db", 1000)
		var cursor, last store.Position
		if err := w.Store.View(w.Ctx, func(tx store.Tx) (err error) {
			if cursor, err = tx.Cursor(w.Ctx, event.Cursor); err != nil {
				return err
			}
			commits, err := tx.Commits(w.Ctx, cursor, 0)
			last = cursor + store.Position(len(commits))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return last > 300 && last-cursor < 5
	})
}

// Plain http is for the endpoints of a development server.
func TestPlainEndpointsOnLoopback(t *testing.T) {
	w := newWorld(t)
	got := make(chan string, 1)
	plain := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions {
			rw.Header().Set("WebHook-Allowed-Origin", "*")
			return
		}
		got <- r.URL.Path
	}))
	t.Cleanup(plain.Close)
	w.subscribe(&endpoint{Server: plain, t: t}, "plain", func(s *event.Spec) { s.Schema = event.CloudEvents })
	w.emit("db", 1)
	select {
	case <-got:
	case <-time.After(patience):
		t.Error("no event was delivered")
	}
}
