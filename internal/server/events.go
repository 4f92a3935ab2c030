package server

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/event"
	"github.com/keywright/keywright/internal/eventing"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/object"
)

// validationPath is where an endpoint confirms its handshake by hand. It asks for no credential but the code in its query.
const validationPath = "/events/validate"

// openEvents makes the service that delivers events.
func (k *core) openEvents(c *Config, links event.Links) (err error) {
	k.events, err = event.New(event.Config{Store: k.store, Keys: k.keys, Clock: c.Clock, Logger: c.Logger, Links: links,
		Network: network(c), Fence: k.turn.Fence})
	if err != nil {
		return err
	}
	if k.eventing, err = eventing.New(eventing.Config{Guard: k.guard, Store: k.store, Events: k.events}); err != nil {
		return err
	}
	k.expiries = []*object.Expiries{k.secrets.Expiries(), k.cryptoKeys.Expiries(), k.certificates.Expiries()}
	k.onClose(wrapStop(k.store.Watch(k.events.Changed)))
	return nil
}

// network says what the server may reach in the name of those who use it.
func network(c *Config) event.Network {
	return event.Network{Loopback: c.EventLoopback, Allow: c.EventAllow}
}

// issuerNetwork says where outside issuers may be. An administrator of a tenant names them, and their own documents where their keys are:
// neither operates the server.
func issuerNetwork(c *Config) *event.Network { return outside(c, c.IssuerAllow) }

// outside says what the server may reach at addresses that its users name, with those that its operator permits for the purpose.
func outside(c *Config, allow []netip.Prefix) *event.Network {
	return &event.Network{Loopback: c.EventLoopback, Allow: allow}
}

// tellExpiries emits the events of secrets and keys that are about to expire or have expired.
func (k *core) tellExpiries(ctx context.Context) error {
	near, expired := 0, 0
	var errs []error
	for _, x := range k.expiries {
		n, e, err := x.Tell(ctx)
		near, expired, errs = near+n, expired+e, append(errs, err)
	}
	if near+expired > 0 {
		k.log.InfoContext(ctx, "expiries were told", "near", near, "expired", expired)
	}
	return errors.Join(errs...)
}

// eventLinks are what a development server's events tell to the outside.
func (n *names) eventLinks(address string) event.Links {
	return event.Links{
		Vault:  func(name string) string { return "https://" + name + "." + n.suffix + n.port },
		Origin: n.api,
		Validation: func(id, code string) string {
			return "https://" + address + validationPath + "?" + url.Values{"id": {id}, "code": {code}}.Encode()
		},
	}
}

// withValidation puts the validation of handshakes before the doors, at every host but the vaults': it is no API, and whoever opens the
// link is nobody who could be authorised.
func (k *core) withValidation(n *names, doors http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == validationPath && !strings.HasSuffix(hostOnly(r.Host), "."+n.suffix) {
			k.validateEvents(w, r)
			return
		}
		doors.ServeHTTP(w, r)
	})
}

// validateEvents confirms handshakes. CloudEvents' web hooks let an endpoint use POST as well as GET.
func (k *core) validateEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "open the validation URL with GET or POST", http.StatusMethodNotAllowed)
		return
	}
	query := r.URL.Query()
	err := k.events.Validate(r.Context(), query.Get("id"), query.Get("code"))
	switch {
	case fault.Is(err, fault.NotFound):
		k.audit.Unauthenticated(audit.Refusal{Door: "events", Host: hostOnly(r.Host), Address: door.ConnectionAddress(r), Reason: "UnknownHandshake"})
		http.Error(w, publicText(err), http.StatusNotFound)
		return
	case err == nil:
		err = k.audit.Append(r.Context(), &audit.Record{Time: clock.Micro(k.clock.Now()), Door: "events", Action: "EventSubscription/Validate",
			Operation: "EventSubscriptionValidate", ObjectName: query.Get("id"), Outcome: audit.Allowed, ClientAddress: door.ConnectionAddress(r), Status: http.StatusOK})
	}
	if err != nil {
		k.log.ErrorContext(r.Context(), "a handshake could not be confirmed", "error", err)
		http.Error(w, "the handshake cannot be confirmed now: try again", http.StatusServiceUnavailable)
		return
	}
	w.Write([]byte("The subscription is active: events will be delivered to the endpoint.\n"))
}

// sweepInterval is how often handshakes, removals and old dead letters are looked after.
const sweepInterval = time.Minute
