package endpoint_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
)

// Two nodes stand behind one name. One of them is not reloaded after a renewal: the oldest certificate still presented is what counts, until it is.
func TestTheOldestStillPresentedCounts(t *testing.T) {
	w := newWorld(t)
	root := newRoot(t, "Root")
	sub := root.intermediate("Intermediate")
	above := []*x509.Certificate{sub.cert, root.cert}
	old := sub.issue(noon.Add(-60*day), above, nil) // 30 days are left
	first := w.imports("web", old)
	w.resolve("shop.example", "192.0.2.1", "192.0.2.2", "192.0.2.1")
	a, b := w.serve("192.0.2.1:443", old.served(2), nil), w.serve("192.0.2.2:443", old.served(2), nil)
	w.set(endpoint.Spec{Name: "front", Certificate: "WEB", Address: "shop.example:443", Every: 3 * time.Hour})
	e := w.check("front")
	if len(e.Sights) != 2 || e.Sights[0].Version != first || e.Expected != first || e.Certificate != "web" {
		t.Fatalf("%+v", e)
	}
	if got := kinds(e); !slices.Equal(got, []string{"expiring"}) { // imported: nobody here renews it
		t.Errorf("alarms %v", got)
	}

	renewed := sub.issue(noon, above, nil)
	second := w.imports("web", renewed)
	a.serving.Store(renewed.served(2))
	e = w.check("front")
	if e.Sights[0].Version != second || e.Sights[1].Version != first || e.Oldest().Address != "192.0.2.2:443" || e.Expected != second {
		t.Errorf("%+v", e.Sights)
	}
	if got := kinds(e); !slices.Equal(got, []string{"(outdated)"}) {
		t.Errorf("within the grace: %v", got)
	}
	if got := w.events(); len(got) != 2 || got[1].Type != endpoint.EndpointClear {
		t.Errorf("events %+v", got)
	}

	// It stays so. Each mark of the countdown is told, and every day in between.
	seen := map[endpoint.Level]time.Duration{}
	for range 30 * 8 {
		w.now.Advance(3 * time.Hour)
		w.due()
		e = w.get("front")
		if l := e.Level(); l != "" && seen[l] == 0 {
			seen[l] = old.certs[0].NotAfter.Sub(w.now.Now())
		}
	}
	for level, want := range map[endpoint.Level]time.Duration{endpoint.Notice: 30*day - 3*time.Hour, endpoint.Warning: 14 * day, endpoint.Critical: 3 * day} {
		if got := seen[level]; got > want || got < want-3*time.Hour {
			t.Errorf("the level %s begins with %s left, want %s", level, got, want)
		}
	}
	events := w.events()[2:]
	for i, ev := range events {
		if ev.Type != endpoint.EndpointAlarm || ev.Alarms[0].Kind != endpoint.Outdated || ev.Alarms[0].Addresses[0] != "192.0.2.2:443" || ev.Oldest.Version != first || ev.Expected != second {
			t.Fatalf("event %d: %+v", i, ev)
		}
		if left := int64(old.certs[0].NotAfter.Sub(ev.At) / time.Second); ev.Oldest.SecondsLeft != left || ev.Subject != "web" {
			t.Errorf("event %d counts down from %d, want %d", i, ev.Oldest.SecondsLeft, left)
		}
		if i > 0 {
			if pause := ev.At.Sub(events[i-1].At); pause > day+3*time.Hour {
				t.Errorf("nobody heard for %s", pause)
			}
		}
	}
	if len(events) < 29 || len(events) > 29+5 {
		t.Errorf("%d events in 30 days", len(events))
	}

	b.serving.Store(renewed.served(2))
	w.now.Advance(3 * time.Hour)
	w.due()
	if e = w.get("front"); len(e.Alarms) != 0 || e.Oldest().Version != second {
		t.Errorf("after the reload: %v, oldest %+v", kinds(e), e.Oldest())
	}
	if got := w.events(); got[len(got)-1].Type != endpoint.EndpointClear || len(got[len(got)-1].Alarms) != 0 {
		t.Errorf("the last event is %+v", got[len(got)-1])
	}
}

// What is presented reaches the ledger by versions, and that nobody presents one any more does too.
func TestEvidence(t *testing.T) {
	w := newWorld(t)
	root := newRoot(t, "Root")
	above := []*x509.Certificate{root.cert}
	old, renewed := root.issue(noon, above, nil), root.issue(noon, above, nil)
	first := w.imports("web", old)
	w.resolve("a.example", "192.0.2.1")
	w.resolve("b.example", "192.0.2.2")
	a, b := w.serve("192.0.2.1:443", old.served(1), nil), w.serve("192.0.2.2:443", old.served(1), nil)
	for _, host := range []string{"a", "b"} {
		w.set(endpoint.Spec{Name: host, Certificate: "web", Address: host + ".example:443", ServerName: "shop.example"})
	}
	w.due()
	second := w.imports("web", renewed)
	a.serving.Store(renewed.served(1))
	take := func() map[string]string {
		w.seen = nil
		w.check("a")
		w.check("b")
		got := map[string]string{}
		for _, p := range w.seen {
			word := "old"
			if p.Version == second {
				word = "new"
			} else if p.Version != first {
				t.Errorf("an unknown version %s", p.Version)
			}
			got[word] = fmt.Sprint(p.Addresses)
			if p.Name != "web" || p.Vault != w.Vault.ID || !p.At.Equal(w.now.Now()) {
				t.Errorf("%+v", p)
			}
		}
		return got
	}
	if got := take(); got["old"] != "[192.0.2.2]" || got["new"] != "[192.0.2.1]" {
		t.Errorf("after one reload: %v", got)
	}
	b.serving.Store(renewed.served(1))
	if got := take(); got["old"] != "[]" || got["new"] != "[192.0.2.1 192.0.2.2]" {
		t.Errorf("after both: %v", got)
	}
	if got := take(); got["old"] != "" {
		t.Errorf("what nobody presents is told again: %v", got)
	}
	of, err := w.svc.Of(w.Ctx, w.Vault.ID, "Web")
	w.do(err)
	if len(of) != 2 || of[0].Oldest().Version != second {
		t.Errorf("%+v", of)
	}
}

func TestFindings(t *testing.T) {
	w := newWorld(t)
	root, strange := newRoot(t, "Root"), newRoot(t, "Strange Root")
	sub := root.intermediate("Intermediate")
	above := []*x509.Certificate{sub.cert, root.cert}
	stored := sub.issue(noon, above, nil)
	w.imports("web", stored)
	caPEM := func(c *ca) string {
		return "-----BEGIN CERTIFICATE-----\n" + lines64(c.cert.Raw) + "-----END CERTIFICATE-----\n"
	}
	for name, c := range map[string]struct {
		served      *tls.Certificate
		certificate string
		ca          string
		serverName  string
		want        []string
	}{
		"well":                   {served: stored.served(2), certificate: "web"},
		"with the root":          {served: stored.served(3), certificate: "web"},
		"missing intermediate":   {served: stored.served(1), certificate: "web", want: []string{"incomplete"}},
		"foreign and trusted":    {served: sub.issue(noon, above, nil).served(2), certificate: "web", want: []string{"foreign"}},
		"foreign and untrusted":  {served: strange.issue(noon, nil, nil).served(1), certificate: "web", want: []string{"untrusted", "foreign"}},
		"another name":           {served: stored.served(2), certificate: "web", serverName: "other.example", want: []string{"wrong-name"}},
		"external":               {served: stored.served(2), ca: caPEM(root)},
		"external and untrusted": {served: stored.served(2), want: []string{"untrusted"}},
		"external, no chain":     {served: stored.served(1), ca: caPEM(root), want: []string{"untrusted"}},
		"external and old":       {served: root.issue(noon.Add(-80*day), nil, nil).served(1), ca: caPEM(root), want: []string{"expiring"}},
		"expired":                {served: root.issue(noon.Add(-91*day), nil, nil).served(1), ca: caPEM(root), want: []string{"expired"}},
		"early":                  {served: root.issue(noon.Add(day), nil, nil).served(1), ca: caPEM(root), want: []string{"not-yet-valid"}},
		"for clients": {served: root.issue(noon, nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }).served(1), ca: caPEM(root),
			want: []string{"untrusted"}},
	} {
		w.resolve("front.example", "192.0.2.1")
		w.serve("192.0.2.1:443", c.served, nil)
		if c.serverName == "" {
			c.serverName = "shop.example"
		}
		w.set(endpoint.Spec{Name: "front", Certificate: c.certificate, Address: "front.example:443", ServerName: c.serverName, CA: c.ca})
		e := w.check("front")
		if got := kinds(e); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v: %+v", name, got, c.want, e.Alarms)
		}
		w.do(w.svc.Remove(w.Ctx, w.call(), "front"))
	}
}

func lines64(der []byte) string {
	text := base64Of(der)
	var b strings.Builder
	for len(text) > 64 {
		b.WriteString(text[:64] + "\n")
		text = text[64:]
	}
	return b.String() + text + "\n"
}

// A certificate that signed itself is trusted where the vault has it, and an alarm about its end waits for its renewal.
func TestRenewalsArePlanned(t *testing.T) {
	w := newWorld(t)
	_, _, err := w.certs.Create(w.Ctx, w.call(), "web", cert.Input{Policy: &cert.Policy{Issuer: cert.IssuerRef{Name: cert.SelfIssuer}, Key: cert.KeyProps{Kty: "EC"},
		X509: cert.X509Props{Subject: "CN=shop.example", DNS: []string{"shop.example"}, Months: 3}, Actions: []cert.Action{{DaysBefore: 5, Do: cert.AutoRenew}}}})
	w.do(err)
	current := func() *tls.Certificate {
		_, value, err := w.secrets.Get(w.Ctx, w.call(), secret.Selector{Name: "web"}, nil)
		w.do(err)
		pfx, err := base64.StdEncoding.DecodeString(string(value))
		w.do(err)
		b, err := certfile.ReadPFX(pfx, "", false)
		w.do(err)
		return &tls.Certificate{Certificate: [][]byte{b.Leaf.Raw}, PrivateKey: b.Key}
	}
	w.resolve("shop.example", "192.0.2.1")
	n := w.serve("192.0.2.1:443", current(), nil)
	w.set(endpoint.Spec{Name: "front", Certificate: "web", Address: "shop.example:443", Every: 24 * time.Hour})
	for range 89 {
		w.now.Advance(day)
		w.due()
	}
	if e := w.get("front"); e.Level() == "" || kinds(e)[0] != "expiring" {
		t.Errorf("a renewal that does not come: %v", kinds(e))
	}
	for _, ev := range w.events() {
		if left := time.Duration(ev.Oldest.SecondsLeft) * time.Second; left > 5*day {
			t.Errorf("an alarm %s before the end, before the renewal was due", left)
		}
	}
	_, err = w.certs.Due(w.Ctx)
	w.do(err)
	n.serving.Store(current())
	w.now.Advance(day)
	w.due()
	if e := w.get("front"); len(e.Alarms) != 0 {
		t.Errorf("after the renewal: %v", e.Alarms)
	}
}

// An address that does not answer keeps what was last seen there: nobody knows what it presents when it is back.
func TestUnreachable(t *testing.T) {
	w := newWorld(t)
	root := newRoot(t, "Root")
	c := root.issue(noon, []*x509.Certificate{root.cert}, nil)
	version := w.imports("web", c)
	w.resolve("shop.example", "192.0.2.1", "192.0.2.2")
	w.serve("192.0.2.1:443", c.served(1), nil)
	w.serve("192.0.2.2:443", c.served(1), nil)
	w.set(endpoint.Spec{Name: "front", Certificate: "web", Address: "shop.example:443"})
	w.due()
	up := w.down("192.0.2.2:443")
	w.now.Advance(time.Hour)
	for _, want := range []string{"(unreachable)", "(unreachable)", "unreachable"} {
		w.due()
		e := w.get("front")
		if got := kinds(e); len(got) != 1 || got[0] != want || e.Sights[1].Version != version || e.Sights[1].Error != "the connection was refused" {
			t.Errorf("got %v, want %s: %+v", got, want, e.Sights[1])
		}
		if pause := e.NextAt.Sub(w.now.Now()); pause > 4*time.Minute {
			t.Errorf("it is tried again after %s", pause)
		}
		w.now.Advance(5 * time.Minute)
	}
	up()
	w.due()
	if e := w.get("front"); len(e.Alarms) != 0 || e.NextAt.Sub(w.now.Now()) != time.Hour {
		t.Errorf("back again: %+v", e.Alarms)
	}
	// A node that was taken out of DNS is none any more.
	w.down("192.0.2.2:443")
	w.resolve("shop.example", "192.0.2.1")
	w.now.Advance(time.Hour)
	w.due()
	if e := w.get("front"); len(e.Sights) != 1 || len(e.Alarms) != 0 {
		t.Errorf("%+v", e)
	}
	// A name that is gone is an alarm, and what it led to is not forgotten.
	w.mu.Lock()
	delete(w.names, "shop.example")
	w.mu.Unlock()
	for range 3 {
		w.now.Advance(time.Hour)
		w.due()
	}
	if e := w.get("front"); e.Level() != endpoint.Warning || e.Alarms[0].Detail != "the name does not exist" || e.Oldest() == nil {
		t.Errorf("%+v", e)
	}
}

// Whoever presents a certificate without its key shows nothing: anybody could.
func TestACertificateWithoutItsKey(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := newWorld(t)
		root := newRoot(t, "Root")
		c := root.issue(noon, []*x509.Certificate{root.cert}, nil)
		w.imports("web", c)
		w.resolve("shop.example", "192.0.2.1")
		stolen := c.served(1)
		stolen.PrivateKey = newKey(t)
		n := w.serve("192.0.2.1:443", stolen, nil)
		n.config.MaxVersion = version
		w.set(endpoint.Spec{Name: "front", Certificate: "web", Address: "shop.example:443"})
		if e := w.check("front"); e.Sights[0].Seen() || e.Sights[0].Failures != 1 {
			t.Errorf("%+v", e)
		}
	}
}

// Servers that want to know who connects have presented their own certificate by then.
func TestServersThatWantCertificates(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := newWorld(t)
		root := newRoot(t, "Root")
		c := root.issue(noon, []*x509.Certificate{root.cert}, nil)
		w.imports("web", c)
		w.resolve("shop.example", "192.0.2.1")
		n := w.serve("192.0.2.1:443", c.served(1), nil)
		n.config.ClientAuth, n.config.MinVersion, n.config.MaxVersion = tls.RequireAnyClientCert, version, version
		w.set(endpoint.Spec{Name: "front", Certificate: "web", Address: "shop.example:443"})
		if e := w.check("front"); len(e.Alarms) != 0 || !e.Sights[0].Seen() {
			t.Errorf("%+v", e)
		}
	}
}

// One worker looks at a time, and what another one found out meanwhile is not overwritten.
func TestOneWorkerLooks(t *testing.T) {
	w := newWorld(t)
	root := newRoot(t, "Root")
	c := root.issue(noon, []*x509.Certificate{root.cert}, nil)
	w.imports("web", c)
	w.resolve("shop.example", "192.0.2.1")
	asked, answer := make(chan struct{}), make(chan struct{})
	w.serve("192.0.2.1:443", c.served(1), func(net.Conn) error {
		asked <- struct{}{}
		<-answer
		return nil
	})
	w.set(endpoint.Spec{Name: "front", Certificate: "web", Address: "shop.example:443"})
	done := make(chan int)
	go func() {
		n, err := w.svc.Due(w.Ctx)
		if err != nil {
			t.Error(err)
		}
		done <- n
	}()
	<-asked
	other := w.open("node-2", nil)
	if n, err := other.Due(w.Ctx); n != 0 || err != nil {
		t.Errorf("a second worker looked at %d endpoints, %v", n, err)
	}
	w.set(endpoint.Spec{Name: "front", Certificate: "web", Address: "elsewhere.example:443"})
	close(answer)
	if n := <-done; n != 1 {
		t.Errorf("%d endpoints", n)
	}
	if e := w.get("front"); !e.Checked.IsZero() || e.Address != "elsewhere.example:443" {
		t.Errorf("what was seen elsewhere was stored: %+v", e)
	}
	// The lease was given back.
	if n, err := other.Due(w.Ctx); n != 1 || err != nil {
		t.Errorf("the second worker looked at %d endpoints, %v", n, err)
	}
	if n := w.due(); n != 0 {
		t.Errorf("%d endpoints are due again", n)
	}
}

// A worker that lost its lease, because it was stopped for too long, stores nothing.
func TestALostLeaseStoresNothing(t *testing.T) {
	w := newWorld(t)
	w.resolve("shop.example", "192.0.2.1")
	asked, answer := make(chan struct{}), make(chan struct{})
	w.listen("192.0.2.1:443", func(net.Conn) { asked <- struct{}{}; <-answer })
	w.set(endpoint.Spec{Name: "front", Address: "shop.example:443"})
	done := make(chan error)
	go func() {
		_, err := w.svc.Due(w.Ctx)
		done <- err
	}()
	<-asked
	w.Change(func(tx store.Tx) error { // as if it had run out and another one had taken it
		l, err := tx.AcquireLease(w.Ctx, "endpoints", "node-1", time.Minute, 0)
		if err == nil {
			err = tx.ReleaseLease(w.Ctx, l)
		}
		if err == nil {
			_, err = tx.AcquireLease(w.Ctx, "endpoints", "node-2", time.Minute, 0)
		}
		return err
	})
	close(answer)
	if err := <-done; fault.As(err) == nil || fault.As(err).Reason != store.LeaseLost {
		t.Errorf("got %v", err)
	}
	if e := w.get("front"); !e.Checked.IsZero() {
		t.Errorf("it was stored: %+v", e)
	}
}

func TestWhoMay(t *testing.T) {
	w := newWorld(t)
	spec := endpoint.Spec{Name: "front", Address: "192.0.2.1:443"}
	w.set(spec)
	reader, stranger := w.Call(w.Caller(authz.VaultReader)), w.Call(w.Caller())
	_, err := w.svc.Get(w.Ctx, reader, "front")
	w.do(err)
	l, err := w.svc.List(w.Ctx, reader, endpoint.Page{Limit: 10})
	w.do(err)
	if len(l.Endpoints) != 1 || l.Endpoints[0].Name != "front" {
		t.Errorf("%+v", l)
	}
	_, err = w.svc.Get(w.Ctx, reader, "absent")
	w.fails(err, fault.NotFound)
	_, err = w.svc.Set(w.Ctx, reader, spec)
	w.fails(err, fault.Forbidden)
	_, err = w.svc.Check(w.Ctx, reader, "front")
	w.fails(err, fault.Forbidden)
	_, err = w.svc.Acknowledge(w.Ctx, reader, "front")
	w.fails(err, fault.Forbidden)
	w.fails(w.svc.Remove(w.Ctx, reader, "front"), fault.Forbidden)
	for _, name := range []string{"front", "absent"} {
		_, err = w.svc.Get(w.Ctx, stranger, name)
		w.fails(err, fault.Forbidden)
	}
	_, err = w.svc.List(w.Ctx, stranger, endpoint.Page{})
	w.fails(err, fault.Forbidden)
	w.do(w.svc.Remove(w.Ctx, w.call(), "FRONT"))
	w.fails(w.svc.Remove(w.Ctx, w.call(), "front"), fault.NotFound)
	entries := w.Changes()
	if last := entries[len(entries)-1]; last.Detail != "endpoint FRONT" || last.Action != authz.CertificateUpdate.String() || last.Outcome != "allowed" {
		t.Errorf("the record of the removal is %+v", last)
	}
}

func TestSpecs(t *testing.T) {
	w := newWorld(t)
	for _, spec := range []endpoint.Spec{
		{}, {Name: "a b", Address: "x.example:443"}, {Name: "a"}, {Name: "a", Address: "x.example"}, {Name: "a", Address: "x.example:0"}, {Name: "a", Address: "x.example:65536"},
		{Name: "a", Address: ":443"}, {Name: "a", Address: "x example:443"}, {Name: "a", Address: "x.example:https"}, {Name: "a", Address: "[fe80::1%eth0]:443"},
		{Name: "a", Address: "-x.example:443"}, {Name: "a", Address: strings.Repeat("a.", 127) + "example:443"}, {Name: "a", Address: "x.example:443", ServerName: "a\r\nb"},
		{Name: "a", Address: "x.example:443", Protocol: "ftp"}, {Name: "a", Address: "x.example:443", Every: time.Second}, {Name: "a", Address: "x.example:443", Timeout: -1},
		{Name: "a", Address: "x.example:443", Grace: 91 * day}, {Name: "a", Address: "x.example:443", CA: "no certificate"}, {Name: "a", Address: "x.example:443", Certificate: "absent"},
		{Name: "a", Address: "x.example:443", Certificate: "issuers"},
	} {
		_, err := w.svc.Set(w.Ctx, w.call(), spec)
		w.fails(err, fault.Invalid)
	}
	e := w.set(endpoint.Spec{Name: "a", Address: "[2001:db8::1]:443"})
	if e.ServerName != "2001:db8::1" || e.Protocol != endpoint.TLS || e.Every != endpoint.DefaultEvery || e.Timeout != endpoint.DefaultTimeout || e.Grace != endpoint.DefaultGrace {
		t.Errorf("%+v", e)
	}
}

// Nobody can ask for the endpoints of a vault that was purged; those of a deleted one rest.
func TestEndpointsOfDeletedVaults(t *testing.T) {
	w := newWorld(t)
	w.set(endpoint.Spec{Name: "front", Address: "192.0.2.1:443"})
	count := func() (n int) {
		w.do(w.Store.View(w.Ctx, func(tx store.Tx) (err error) {
			n, err = tx.CountEndpoints(w.Ctx, w.Vault.ID, 0)
			return err
		}))
		return n
	}
	v := w.ReadVault(w.Vault.ID).Clone()
	v.Deleted = deletion(noon)
	w.Change(func(tx store.Tx) error { return tx.PutVault(w.Ctx, v) })
	if w.due(); count() != 1 || w.due() != 0 {
		t.Error("an endpoint of a deleted vault does not rest")
	}
	w.Change(func(tx store.Tx) error { return tx.DeleteVault(w.Ctx, w.Vault.ID) })
	w.now.Advance(time.Hour)
	if w.due(); count() != 0 {
		t.Error("an endpoint of a purged vault stays")
	}
}

// The contacts of the vault are written to, with what to do next.
func TestLetters(t *testing.T) {
	w := newWorld(t)
	root := newRoot(t, "Root")
	c := root.issue(noon, []*x509.Certificate{root.cert}, nil)
	w.imports("web", c)
	w.resolve("shop.example", "192.0.2.1")
	w.serve("192.0.2.1:443", root.issue(noon, nil, nil).served(1), nil)
	w.set(endpoint.Spec{Name: "front", Certificate: "web", Address: "shop.example:443"})
	w.check("front")
	if len(w.letters) != 0 {
		t.Error("a letter to nobody")
	}
	w.do(w.certs.SetContacts(w.Ctx, w.call(), []cert.Contact{{Email: "ops@example.org", Name: "Ops"}, {Email: "@"}}))
	w.now.Advance(day)
	w.check("front")
	if len(w.letters) != 1 || len(w.letters[0].To) != 1 || w.letters[0].To[0].Address != "ops@example.org" {
		t.Fatalf("%+v", w.letters)
	}
	for _, want := range []string{"foreign", "192.0.2.1:443", "89 days", "keywright cert endpoint show front --vault Shop"} {
		if !strings.Contains(w.letters[0].Text, want) {
			t.Errorf("%q is not in\n%s", want, w.letters[0].Text)
		}
	}
	if !strings.HasPrefix(w.letters[0].Subject, "WARNING: ") {
		t.Error(w.letters[0].Subject)
	}
}

// A look that was cut short by the end of the program says nothing.
func TestTheEndOfTheProgramIsNoFailure(t *testing.T) {
	w := newWorld(t)
	w.resolve("shop.example", "192.0.2.1")
	asked := make(chan struct{})
	w.listen("192.0.2.1:443", func(conn net.Conn) { close(asked); conn.Read(make([]byte, 1<<16)); <-w.T.Context().Done() })
	w.set(endpoint.Spec{Name: "front", Address: "shop.example:443"})
	ctx, cancel := context.WithCancel(w.Ctx)
	go func() { <-asked; cancel() }()
	if _, err := w.svc.Due(ctx); err == nil {
		t.Error("no error")
	}
	if e := w.get("front"); !e.Checked.IsZero() || len(e.Sights) != 0 {
		t.Errorf("%+v", e)
	}
}

// Addresses of IPv6 do not count on a machine that has none, as long as another one answers.
func TestAddressesWithoutARoute(t *testing.T) {
	w := newWorld(t)
	root := newRoot(t, "Root")
	c := root.issue(noon, []*x509.Certificate{root.cert}, nil)
	w.imports("web", c)
	w.resolve("shop.example", "192.0.2.1", "2001:db8::1")
	w.serve("192.0.2.1:443", c.served(1), nil)
	svc := w.open("node-1", func(c *endpoint.Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if at := netip.MustParseAddrPort(address); at.Addr().Is6() {
				return nil, &net.OpError{Op: "dial", Net: network, Err: noRoute}
			}
			return w.dial(ctx, network, address)
		}
	})
	w.set(endpoint.Spec{Name: "front", Certificate: "web", Address: "shop.example:443"})
	e, err := svc.Check(w.Ctx, w.call(), "front")
	w.do(err)
	if len(e.Sights) != 1 || len(e.Alarms) != 0 {
		t.Errorf("%+v", e)
	}
	w.down("192.0.2.1:443")
	e, err = svc.Check(w.Ctx, w.call(), "front")
	w.do(err)
	if len(e.Sights) != 2 {
		t.Errorf("%+v", e)
	}
}

// A renewed certificate is looked for again and again, ever more slowly, until it is served.
func TestARenewedCertificateIsLookedFor(t *testing.T) {
	w := newWorld(t)
	root := newRoot(t, "Root")
	above := []*x509.Certificate{root.cert}
	w.resolve("shop.example", "192.0.2.1")
	old := root.issue(noon.Add(-day), above, nil)
	w.imports("web", old)
	n := w.serve("192.0.2.1:443", old.served(1), nil)
	w.set(endpoint.Spec{Name: "front", Certificate: "web", Address: "shop.example:443"})
	w.due()
	w.now.Advance(10 * time.Minute)
	renewed := root.issue(w.now.Now(), above, nil)
	w.imports("web", renewed)
	made := w.now.Now()
	var looks []time.Duration
	for w.now.Now().Sub(made) < 4*time.Hour {
		w.now.Advance(10 * time.Second)
		if w.due() > 0 {
			looks = append(looks, w.now.Now().Sub(made).Round(time.Second))
		}
	}
	first := 30 * time.Second
	want := []time.Duration{first, first + time.Minute, first + 2*time.Minute, first + 4*time.Minute, first + 8*time.Minute, first + 16*time.Minute, first + 32*time.Minute, first + 64*time.Minute,
		first + 124*time.Minute, first + 184*time.Minute}
	if !slices.Equal(looks, want) {
		t.Errorf("looked at %v, not at %v", looks, want)
	}
	n.serving.Store(renewed.served(1))
	w.now.Advance(time.Hour)
	w.due()
	if e := w.get("front"); len(e.Alarms) != 0 || !e.NextAt.Equal(w.now.Now().Add(time.Hour)) {
		t.Errorf("%+v, next at %s", e.Alarms, e.NextAt)
	}
}
