package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// The kinds of store.SignIn that device codes leave. A user code points to its device code.
const (
	kindDevice   = "device"
	kindUserCode = "user-code"
)

// deviceMemory is how long after its end a device code is answered with "expired" rather than "unknown".
const deviceMemory = 5 * time.Minute

// DeviceRequest asks for a device code (RFC 8628, section 3.1).
type DeviceRequest struct {
	Tenant   vault.TenantID
	ClientID string
	Resource string
	Scope    string
	From
}

// Device is a started sign-in: the program polls with DeviceCode while the person types UserCode elsewhere.
type Device struct {
	DeviceCode redact.String
	UserCode   redact.String
	Lifetime   time.Duration
	Interval   time.Duration
}

// deviceState is the stored state of a device code:
//
//	pending ──approve──▶ approved ──poll──▶ gone
//	   └─────deny──────▶ declined ──poll──▶ gone
type deviceState struct {
	Client     string       `json:"a"`
	Resource   string       `json:"r"`
	Scope      string       `json:"s"`
	Address    netip.Addr   `json:"f"`
	Started    time.Time    `json:"t"`
	Ends       time.Time    `json:"e"`
	Decision   string       `json:"d,omitempty"`
	Principal  principal.ID `json:"p,omitempty"`
	Credential string       `json:"c,omitempty"`
}

const (
	approved = "approved"
	declined = "declined"
)

// StartDevice starts a sign-in of a person on another device. How often that can be done is bounded, see starts.
func (s *Service) StartDevice(ctx context.Context, r DeviceRequest) (*Device, error) {
	if err := checkResource(r.Resource); err != nil {
		return nil, err
	}
	if _, err := s.checkPublicClient(r.ClientID, r.Tenant); err != nil {
		return nil, err
	}
	if err := s.starts.take(r.Tenant, r.From); err != nil {
		return nil, err
	}
	now := clock.Micro(s.Clock.Now())
	state := deviceState{Client: strings.ToLower(r.ClientID), Resource: r.Resource, Scope: r.Scope, Address: r.Address, Started: now, Ends: now.Add(deviceLife)}
	data, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	d := &Device{DeviceCode: redact.String(randomText(32)), UserCode: redact.String(randomFrom(userCodeAlphabet, userCodeLength)), Lifetime: deviceLife,
		Interval: pollInterval}
	userID, err := s.userCodeID(ctx, r.Tenant, d.UserCode)
	if err != nil {
		return nil, err
	}
	device := &store.SignIn{Kind: kindDevice, ID: deviceID(d.DeviceCode), Tenant: r.Tenant, Expires: state.Ends.Add(deviceMemory), Data: data}
	user := &store.SignIn{Kind: kindUserCode, ID: userID, Tenant: r.Tenant, Expires: state.Ends, Data: []byte(device.ID)}
	err = s.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		if err := enabledTenant(ctx, tx, r.Tenant); err != nil {
			return err
		}
		if _, err := tx.SignIn(ctx, kindUserCode, userID, now); !fault.Is(err, fault.NotFound) {
			if err == nil { // one in 25 billion
				err = fault.New(fault.Unavailable, "The drawn code is in use; try again.")
			}
			return err
		}
		if err := tx.PutSignIn(ctx, device); err != nil {
			return err
		}
		return tx.PutSignIn(ctx, user)
	})
	if err != nil {
		return nil, err
	}
	d.UserCode = FormatUserCode(d.UserCode)
	return d, nil
}

func deviceID(code redact.String) string {
	sum := sha256.Sum256([]byte(code.Reveal()))
	return hex.EncodeToString(sum[:])
}

// userCodeID is keyed: a user code is short enough to be found from a plain digest.
func (s *Service) userCodeID(ctx context.Context, t vault.TenantID, code redact.String) (string, error) {
	digest, err := s.Keys.Digest(ctx, t, purposeCode, []byte(code.Reveal()))
	if err != nil {
		return "", fmt.Errorf("digesting a user code: %w", err)
	}
	return hex.EncodeToString(digest), nil
}

// Pending is what a person sees before it decides: who asks, from where, since when.
type Pending struct {
	Client   string
	Address  netip.Addr
	Started  time.Time
	Resource string
}

// PendingDevice finds the sign-in that a user code belongs to.
func (s *Service) PendingDevice(ctx context.Context, t vault.TenantID, userCode string, from From) (*Pending, error) {
	pass, err := s.gate.enter(attempt{"code", string(t), from.Address})
	if err != nil {
		return nil, err
	}
	var state deviceState
	code, err := ParseUserCode(userCode)
	if err == nil {
		var id string
		if id, err = s.userCodeID(ctx, t, code); err == nil {
			err = s.Store.View(ctx, func(tx store.Tx) error {
				_, state, err = s.readUserCode(ctx, tx, t, id)
				return err
			})
		}
	}
	if err != nil {
		pass.failed(err)
		return nil, err
	}
	// A known code forgives nothing: who guesses can always start a sign-in of its own.
	pass.takeBack()
	return &Pending{Client: s.PublicClients[state.Client], Address: state.Address, Started: state.Started, Resource: state.Resource}, nil
}

func (s *Service) readUserCode(ctx context.Context, tx store.Tx, t vault.TenantID, id string) (*store.SignIn, deviceState, error) {
	var state deviceState
	now := s.Clock.Now()
	unknown := invalid(WrongCode, "No sign-in waits for this code. It may have been mistyped, used or expired; look at the device again.")
	user, err := tx.SignIn(ctx, kindUserCode, id, now)
	if fault.Is(err, fault.NotFound) || err == nil && user.Tenant != t {
		return nil, state, unknown
	}
	if err != nil {
		return nil, state, err
	}
	row, err := tx.SignIn(ctx, kindDevice, string(user.Data), now)
	if fault.Is(err, fault.NotFound) {
		return nil, state, unknown
	}
	if err != nil {
		return nil, state, err
	}
	if err := json.Unmarshal(row.Data, &state); err != nil {
		return nil, state, fmt.Errorf("reading the state of a sign-in: %w", err)
	}
	if state.Decision != "" || !now.Before(state.Ends) {
		return nil, state, unknown
	}
	return row, state, nil
}

// DecideDevice lets a person allow or refuse the sign-in that a user code belongs to. To refuse, the code is enough: who may be
// nil then.
func (s *Service) DecideDevice(ctx context.Context, t vault.TenantID, userCode string, who *Person, allow bool) error {
	if allow && (who == nil || who.tenant != t) {
		return unauthenticated(WrongCode, "The sign-in belongs to another tenant than the person.")
	}
	code, err := ParseUserCode(userCode)
	if err != nil {
		return err
	}
	id, err := s.userCodeID(ctx, t, code)
	if err != nil {
		return err
	}
	return s.Store.Update(ctx, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		row, state, err := s.readUserCode(ctx, tx, t, id)
		if err != nil {
			return err
		}
		state.Decision = declined
		if allow {
			state.Decision, state.Principal, state.Credential = approved, who.id, who.credential
		}
		data, err := json.Marshal(state)
		if err != nil {
			return err
		}
		if err := tx.DeleteSignIn(ctx, kindUserCode, id); err != nil {
			return err
		}
		return tx.PutSignIn(ctx, &store.SignIn{Kind: row.Kind, ID: row.ID, Tenant: row.Tenant, Expires: row.Expires, Data: data})
	})
}

// PollRequest asks whether the person decided (RFC 8628, section 3.4).
type PollRequest struct {
	Tenant     vault.TenantID
	ClientID   string
	DeviceCode redact.String
	// Issuer is the issuer that the id token names.
	Issuer string
	From
}

// PollDevice returns the tokens once the person approved. Until then, and when it never will, the error's reason says so.
func (s *Service) PollDevice(ctx context.Context, r PollRequest) (*Token, error) {
	id := deviceID(r.DeviceCode)
	now := s.Clock.Now()
	pass, err := s.gate.redeem(r.Tenant, r.From)
	if err != nil {
		return nil, err
	}
	var state deviceState
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		state, err = readDevice(ctx, tx, r, id, now)
		return err
	})
	pass.ended(err) // to wait for the person is no failure
	if err != nil {
		return nil, err
	}
	event := SignInEvent{Tenant: r.Tenant, Subject: fault.Clip(r.ClientID), Flow: FlowDevice, Resource: state.Resource, Address: r.Address,
		Correlation: r.Correlation}
	switch {
	case state.Decision == "" && s.polls.early(id):
		return nil, invalid(SlowDown, "The sign-in was polled too soon; wait five seconds longer between polls.")
	case state.Decision == "":
		return nil, invalid(AuthorizationPending, "OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
	case state.Decision == declined:
		s.polls.forget(id)
		return nil, s.refuse(ctx, event, invalid(CodeDeclined, "The person refused the sign-in."))
	}
	g := personGrant{tenant: r.Tenant, principal: state.Principal, credential: state.Credential, client: state.Client, resource: state.Resource,
		scope: state.Scope, issuer: r.Issuer}
	t, err := s.begin(ctx, event, g, func(tx store.Tx, _ string) error {
		if _, err := readDevice(ctx, tx, r, id, now); err != nil {
			return err // another poll was faster
		}
		return tx.DeleteSignIn(ctx, kindDevice, id)
	})
	if err == nil {
		s.polls.forget(id)
	}
	return t, err
}

func readDevice(ctx context.Context, tx store.Tx, r PollRequest, id string, now time.Time) (deviceState, error) {
	var state deviceState
	row, err := tx.SignIn(ctx, kindDevice, id, now)
	if fault.Is(err, fault.NotFound) || err == nil && row.Tenant != r.Tenant {
		return state, invalid(WrongCode, "The device code is not known. It may have been used; start again.")
	}
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(row.Data, &state); err != nil {
		return state, fmt.Errorf("reading the state of a sign-in: %w", err)
	}
	if !strings.EqualFold(state.Client, r.ClientID) {
		return state, invalid(WrongCode, "The device code was issued to another client.")
	}
	if !now.Before(state.Ends) {
		return state, invalid(CodeExpired, "The device code has expired; start again.")
	}
	return state, nil
}
