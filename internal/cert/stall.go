package cert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Stall is a renewal that is due and cannot begin: its issuer is disabled or gone, the token with its key is away. It is tried again, every renewRetry, until an operation begins.
type Stall struct {
	// Since is when it was tried first, Tries how often, Next when again.
	Since time.Time `json:"since"`
	Tries int       `json:"tries"`
	Next  time.Time `json:"next"`
	// Code and Message say why it could not begin.
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
	// Told is when people were last told; zero for never.
	Told time.Time `json:"told,omitzero"`
}

// stallTold is how often people are told of a renewal that cannot begin.
const stallTold = 24 * time.Hour

// cannotBegin is the code of a reason that has none.
const cannotBegin = "RenewalCannotBegin"

// temporary reports whether a fault may pass by itself.
func temporary(kind fault.Kind) bool {
	return kind == fault.Unavailable || kind == fault.Throttled || kind == fault.Internal
}

// tells reports whether people are to hear of a stall: at once when it waits for somebody to do something, after a while when it may pass by itself, but before half of what was left of the
// certificate's life is over; then every day.
func (st *Stall) tells(kind fault.Kind, expires, now time.Time) bool {
	if !st.Told.IsZero() {
		return now.Sub(st.Told) >= stallTold
	}
	return !temporary(kind) || now.Sub(st.Since) >= min(warnAfter, expires.Sub(st.Since)/2)
}

// stall notes that a renewal could not begin, tells of it what is to be told, and returns the cause. Whoever began an operation meanwhile comes first.
func (s *Service) stall(ctx context.Context, v *vault.Vault, it Item, cause error) error {
	f := fault.As(cause)
	if ctx.Err() != nil || f != nil && f.Reason == InProgressReason {
		return cause // the program ends, or there is an operation after all
	}
	if f == nil { // of no kind: what went wrong is ours, and the caller logs it
		f = fault.New(fault.Internal, "something went wrong here")
	}
	now := s.Clock.Now()
	id := string(vault.NewVersionID(now)) // of the event, if there is one
	return errors.Join(s.unlessMoved(ctx, func(tx store.Tx) error {
		st, err := stateOf(ctx, tx, it.Object.ID)
		if err != nil || st.row == nil || st.running() {
			return err
		}
		next := Stall{Since: now}
		if st.Stalled != nil {
			next = *st.Stalled
		}
		next.Tries, next.Next, next.Code, next.Message = next.Tries+1, now.Add(renewRetry), string(f.Reason), f.Message
		if next.Code == "" {
			next.Code = cannotBegin
		}
		tells := next.tells(f.Kind, it.Version.Attributes.Expires, now)
		if tells {
			next.Told = now
		}
		st.Stalled = &next
		if err := st.put(ctx, tx, v, it.Object, next.Next); err != nil || !tells {
			return err
		}
		return s.tellStall(ctx, tx, v, it, st, id, now)
	}), cause)
}

// tellStall tells that a renewal cannot begin, by event and letter.
func (s *Service) tellStall(ctx context.Context, tx store.Tx, v *vault.Vault, it Item, st *state, id string, at time.Time) error {
	o, current, why := it.Object, it.Version, st.Stalled
	data, err := json.Marshal(RenewalFailure{VaultName: v.Name, ObjectName: o.Name, Current: current.ID, Expires: current.Attributes.Expires, Issuer: st.Policy.Issuer.Name,
		Stalled: true, Code: why.Code, Message: why.Message})
	if err != nil {
		return err
	}
	tx.Emit(store.Event{ID: id, Type: RenewalFailed, Tenant: v.Tenant, Vault: v.ID, Subject: o.Name, At: at, Data: data})
	text := fmt.Sprintf("The certificate %q of the vault %q is to be made anew by %q, and that cannot even begin:\n\n  %s\n\nThe version before stays current. It ends at %s.\n\n"+
		"It has been tried %d times since %s, and is tried again every hour. See how it stands with:\n\n  keywright cert pending show %s --vault %s\n", o.Name, v.Name, st.Policy.Issuer.Name,
		why.Message, current.Attributes.Expires.UTC().Format(time.RFC3339), why.Tries, why.Since.UTC().Format(time.RFC3339), o.Name, v.Name)
	return s.write(ctx, tx, v, id, at, fmt.Sprintf("The renewal of the certificate %q of the vault %q cannot begin", o.Name, v.Name), text)
}

// stalledOperation shows a stall of a certificate that has no operation, such as an imported one.
func (st *state) stalledOperation() *Operation {
	if st.Stalled == nil || st.Policy == nil {
		return nil
	}
	return &Operation{Issuer: st.Policy.Issuer, Status: Failed, Details: "The renewal could not begin.", Code: st.Stalled.Code, Message: st.Stalled.Message, Started: st.Stalled.Since,
		Renewal: true}
}

// Troubled counts the renewals that do not come through, as far as they are tried again within the retry.
type Troubled struct {
	// Stalled cannot begin, Failing have begun and their issuers answer with errors.
	Stalled, Failing int
}

// troubledAtOnce bounds the rows of one look.
const troubledAtOnce = 200

// Troubled counts renewals that do not come through, for metrics. It looks at what is due within the hour alone, so that it costs nothing for certificates that need nothing.
func (s *Service) Troubled(ctx context.Context) (t Troubled, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		t = Troubled{}
		rows, err := tx.Policies(ctx, store.PolicyQuery{Kind: vault.Certificate, DueBefore: s.Clock.Now().Add(renewRetry), Limit: troubledAtOnce})
		for _, row := range rows {
			st, err := readState(row)
			if err != nil {
				return err
			}
			switch op := st.Operation; {
			case st.Stalled != nil:
				t.Stalled++
			case st.running() && op.Renewal && op.Tries > 0:
				t.Failing++
			}
		}
		return err
	})
	return t, err
}

// lookSoon is when the endpoints of a certificate are looked at after it got a new version: who reloads by watching has done so by then.
const lookSoon = 30 * time.Second

// present lets those look soon who watch where a certificate is presented.
func present(ctx context.Context, tx store.Tx, v *vault.Vault, name string, now time.Time) error {
	list, err := tx.Endpoints(ctx, store.EndpointQuery{Vault: v.ID, Certificate: vault.NameKey(name)})
	for _, e := range list {
		if at := now.Add(lookSoon); e.NextAt.IsZero() || e.NextAt.After(at) {
			next := *e
			next.NextAt = at
			if err := tx.PutEndpoint(ctx, &next); err != nil {
				return err
			}
		}
	}
	return err
}
