package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// kindCode is the kind of a store.SignIn that holds an authorization code.
const kindCode = "code"

// codeLife is how long an authorization code waits to be redeemed; a spent one is remembered for as long.
const codeLife = 5 * time.Minute

// CodeRequest is a program's wish that a person signs in (RFC 6749, section 4.1.1, with RFC 7636).
type CodeRequest struct {
	Tenant   vault.TenantID
	ClientID string
	// Redirect is where the browser brings the code: an address of the machine that it runs on.
	Redirect string
	// Challenge is the S256 code challenge. It is required.
	Challenge string
	Resource  string
	Scope     string
	Nonce     string
}

// codeState is the stored state of an authorization code. Family is set once it is spent.
type codeState struct {
	CodeRequest
	Principal  principal.ID
	Credential string
	Spent      bool
	Family     string
}

// CheckCodeRequest refuses what must not even show a sign-in page, and returns the program's name.
func (s *Service) CheckCodeRequest(r CodeRequest) (string, error) {
	name, err := s.checkPublicClient(r.ClientID, r.Tenant)
	if err != nil {
		return "", err
	}
	if err := checkRedirect(r.Redirect); err != nil {
		return "", err
	}
	if sum, err := base64.RawURLEncoding.DecodeString(r.Challenge); err != nil || len(sum) != sha256.Size {
		return "", invalid(WrongRequest, "The request needs a code_challenge of the method S256.")
	}
	return name, checkResource(r.Resource)
}

// checkRedirect takes loopback addresses only (RFC 8252, section 7.3): the known programs run on the person's machine, and a
// code must not leave it.
func checkRedirect(text string) error {
	u, err := url.Parse(text)
	ok := err == nil && u.Scheme == "http" && u.User == nil && u.Fragment == "" && len(text) <= 512
	if ok {
		ip := net.ParseIP(u.Hostname())
		ok = u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	}
	if !ok {
		return invalid(WrongRequest, "The redirect_uri '%s' is not one of http://localhost and http://127.0.0.1 with any port.", fault.Clip(text))
	}
	return nil
}

// IssueCode issues an authorization code for a person who just proved itself.
func (s *Service) IssueCode(ctx context.Context, r CodeRequest, who *Person) (redact.String, error) {
	if _, err := s.CheckCodeRequest(r); err != nil {
		return "", err
	}
	if who.tenant != r.Tenant {
		return "", invalid(WrongRequest, "The person belongs to another tenant.")
	}
	now := clock.Micro(s.Clock.Now())
	code := redact.String(randomText(32))
	data, err := json.Marshal(codeState{CodeRequest: r, Principal: who.id, Credential: who.credential})
	if err != nil {
		return "", err
	}
	row := &store.SignIn{Kind: kindCode, ID: deviceID(code), Tenant: r.Tenant, Expires: now.Add(codeLife), Data: data}
	return code, s.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) error { return tx.PutSignIn(ctx, row) })
}

// RedeemRequest turns an authorization code into tokens (RFC 6749, section 4.1.3).
type RedeemRequest struct {
	Tenant   vault.TenantID
	ClientID string
	Code     redact.String
	Verifier redact.String
	Redirect string
	Issuer   string
	From
}

// RedeemCode issues the tokens of an authorization code. A code that comes a second time was stolen by one of the two: the
// sign-in that the first one began is ended.
func (s *Service) RedeemCode(ctx context.Context, r RedeemRequest) (*Token, error) {
	event := SignInEvent{Tenant: r.Tenant, Subject: fault.Clip(r.ClientID), Flow: FlowCode, Address: r.Address, Correlation: r.Correlation}
	id, now := deviceID(r.Code), clock.Micro(s.Clock.Now())
	pass, err := s.gate.redeem(r.Tenant, r.From)
	if err != nil {
		return nil, s.refuse(ctx, event, err)
	}
	state, err := s.checkCode(ctx, r, id, now)
	pass.ended(err)
	event.Resource = state.Resource
	if err != nil {
		return nil, s.refuse(ctx, event, err)
	}
	g := personGrant{tenant: r.Tenant, principal: state.Principal, credential: state.Credential, client: state.ClientID, resource: state.Resource,
		scope: state.Scope, nonce: state.Nonce, issuer: r.Issuer}
	var overtaken bool // by another who redeemed the code since it was checked
	t, err := s.begin(ctx, event, g, func(tx store.Tx, family string) error {
		row, state, err := readCode(ctx, tx, r, id, now)
		if err != nil {
			return err
		}
		if overtaken = state.Spent; overtaken {
			return codeReused()
		}
		state.Spent, state.Family = true, family
		data, err := json.Marshal(state)
		if err != nil {
			return err
		}
		return tx.PutSignIn(ctx, &store.SignIn{Kind: row.Kind, ID: row.ID, Tenant: row.Tenant, Expires: row.Expires, Data: data})
	})
	if overtaken {
		// The refusal has undone its transaction, so that the sign-in ends in one of its own.
		err = s.endCode(ctx, r, id, now)
	}
	return t, err
}

// checkCode finds what a code stands for and checks that whoever presents it is who it was issued to.
func (s *Service) checkCode(ctx context.Context, r RedeemRequest, id string, now time.Time) (codeState, error) {
	var state codeState
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		_, state, err = readCode(ctx, tx, r, id, now)
		return err
	})
	if err != nil {
		return state, err
	}
	sum := sha256.Sum256([]byte(r.Verifier.Reveal()))
	want := base64.RawURLEncoding.EncodeToString(sum[:])
	switch {
	case state.Spent:
		return state, s.endCode(ctx, r, id, now)
	case subtle.ConstantTimeCompare([]byte(want), []byte(state.Challenge)) != 1:
		return state, wrongGrant("the code verifier does not match the challenge")
	case r.Redirect != state.Redirect:
		return state, wrongGrant("the redirect_uri is not the one that the code was issued for")
	}
	return state, nil
}

func readCode(ctx context.Context, tx store.Tx, r RedeemRequest, id string, now time.Time) (*store.SignIn, codeState, error) {
	var state codeState
	row, err := tx.SignIn(ctx, kindCode, id, now)
	if fault.Is(err, fault.NotFound) || err == nil && row.Tenant != r.Tenant {
		return nil, state, wrongGrant("the code is not known or has expired")
	}
	if err != nil {
		return nil, state, err
	}
	if err := json.Unmarshal(row.Data, &state); err != nil {
		return nil, state, fmt.Errorf("reading the state of a code: %w", err)
	}
	if !strings.EqualFold(state.ClientID, r.ClientID) {
		return nil, state, wrongGrant("the code was issued to another client")
	}
	return row, state, nil
}

func codeReused() error {
	return unauthenticated(ReusedGrant, "The code was used before. Somebody may have copied it, so the sign-in was ended; sign in again.")
}

// endCode ends the sign-in that a code began (RFC 6749, section 4.1.2) and says so.
func (s *Service) endCode(ctx context.Context, r RedeemRequest, id string, now time.Time) error {
	err := s.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		_, state, err := readCode(ctx, tx, r, id, now)
		if err != nil || state.Family == "" {
			return err
		}
		user, err := tx.Principal(ctx, r.Tenant, state.Principal)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return s.endFamily(ctx, tx, user, state.Family, now)
	})
	if err != nil {
		return err
	}
	return codeReused()
}
