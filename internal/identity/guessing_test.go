package identity_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/redact"
)

// TestGuessingGrantsIsSlowed tries every kind of grant that a stranger can make up until it is slowed.
func TestGuessingGrantsIsSlowed(t *testing.T) {
	from := identity.From{Address: there}
	for name, guess := range map[string]func(*world, int) error{
		"refresh token": func(w *world, n int) error {
			b := [48]byte{byte(n), byte(n >> 8)}
			_, err := w.svc.Refresh(w.ctx, identity.RefreshRequest{Tenant: w.tenant, ClientID: cliID, Refresh: base64URL(b[:]), Resource: resource, From: from})
			return err
		},
		"malformed refresh token": func(w *world, n int) error {
			_, err := w.svc.Refresh(w.ctx, identity.RefreshRequest{Tenant: w.tenant, ClientID: cliID, Refresh: "x", Resource: resource, From: from})
			return err
		},
		"authorization code": func(w *world, n int) error {
			_, err := w.svc.RedeemCode(w.ctx, identity.RedeemRequest{Tenant: w.tenant, ClientID: cliID, Code: redact.String(strconv.Itoa(n)), From: from})
			return err
		},
		"device code": func(w *world, n int) error {
			_, err := w.svc.PollDevice(w.ctx, identity.PollRequest{Tenant: w.tenant, ClientID: cliID, DeviceCode: redact.String(strconv.Itoa(n)), From: from})
			return err
		},
		"malformed endpoint secret": func(w *world, n int) error {
			_, err := w.svc.ManagedIdentity(w.ctx, identity.ManagedRequest{Secret: redact.String(strconv.Itoa(n)), Resource: resource, From: from})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, code := w.user("ada@example.org")
			who, err := w.person("ada@example.org", code())
			w.must(err)
			token := w.signInPerson(who)
			for n := range 1000 {
				if err := guess(w, n); fault.Is(err, fault.Throttled) {
					if n < 20 {
						t.Errorf("slowed after %d attempts: programs with an old token are not guessers", n)
					}
					if len(w.audit.locked) == 0 {
						t.Error("nobody was told")
					}
					_, err = w.refresh(token.Refresh) // from elsewhere
					w.must(err)
					w.clock.Advance(time.Minute)
					if err := guess(w, n); fault.Is(err, fault.Throttled) {
						t.Error("the pause has no end")
					}
					return
				} else if err == nil {
					t.Fatal("a guess was right")
				}
			}
			t.Error("a thousand guesses were answered")
		})
	}
}

// TestPollingIsNotGuessing waits for a person much longer than a guesser may try.
func TestPollingIsNotGuessing(t *testing.T) {
	w := newWorld(t)
	d := w.device()
	for range 160 {
		_, err := w.poll(d)
		reason(t, err, identity.AuthorizationPending)
		w.clock.Advance(5 * time.Second)
	}
}
