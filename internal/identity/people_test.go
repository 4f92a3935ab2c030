package identity_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
)

const (
	cliID    = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	password = redact.String("correct horse battery")
	openID   = "openid profile offline_access"
)

// user makes a person with a password and a code generator, and returns what shows its codes.
func (w *world) user(upn string) (*principal.Principal, func() redact.String) {
	w.t.Helper()
	p := w.make(identity.Spec{Kind: principal.User, UPN: upn, Name: upn})
	change, err := w.svc.PreparePassword(w.ctx, w.tenant, p.ID, password)
	w.must(err)
	w.apply(change)
	text, _, change, err := w.svc.PrepareTOTP(w.ctx, w.tenant, p, "phone")
	w.must(err)
	w.apply(change)
	u, err := url.Parse(text.Reveal())
	w.must(err)
	return p, func() redact.String {
		code, err := totp.GenerateCode(u.Query().Get("secret"), w.clock.Now())
		w.must(err)
		return redact.String(code)
	}
}

func (w *world) person(upn string, code redact.String) (*identity.Person, error) {
	return w.svc.SignInWithPassword(w.ctx, identity.PasswordSignIn{Tenant: w.tenant, UPN: upn, Password: password, Code: code,
		From: identity.From{Address: here}})
}

func (w *world) device() *identity.Device {
	w.t.Helper()
	d, err := w.svc.StartDevice(w.ctx, identity.DeviceRequest{Tenant: w.tenant, ClientID: cliID, Resource: resource, Scope: openID, From: w.from()})
	w.must(err)
	return d
}

func (w *world) poll(d *identity.Device) (*identity.Token, error) {
	return w.svc.PollDevice(w.ctx, identity.PollRequest{Tenant: w.tenant, ClientID: cliID, DeviceCode: d.DeviceCode, Issuer: "https://login.test/x", From: w.from()})
}

func (w *world) refresh(r redact.String) (*identity.Token, error) {
	return w.svc.Refresh(w.ctx, identity.RefreshRequest{Tenant: w.tenant, ClientID: cliID, Refresh: r, Resource: resource, From: w.from()})
}

// signInPerson takes a person through a device code.
func (w *world) signInPerson(who *identity.Person) *identity.Token {
	w.t.Helper()
	d := w.device()
	w.must(w.svc.DecideDevice(w.ctx, w.tenant, d.UserCode.Reveal(), who, true))
	token, err := w.poll(d)
	w.must(err)
	return token
}

func TestPasswordAndCode(t *testing.T) {
	w := newWorld(t)
	user, code := w.user("Ada@example.org")
	good := code()
	_, err := w.person("ada@EXAMPLE.org", good)
	w.must(err)
	_, err = w.person("ada@example.org", good)
	reason(t, err, identity.WrongPassword) // each code is good once
	w.clock.Advance(30 * time.Second)
	early := code()
	w.clock.Advance(30 * time.Second)
	_, err = w.person("ada@example.org", early) // a late typist
	w.must(err)
	w.clock.Advance(5 * time.Minute)
	stale := code()
	w.clock.Advance(2 * time.Minute)
	for name, r := range map[string]identity.PasswordSignIn{
		"wrong password": {UPN: "ada@example.org", Password: "wrong horse battery", Code: code()},
		"no password":    {UPN: "ada@example.org", Code: code()},
		"old code":       {UPN: "ada@example.org", Password: password, Code: stale},
		"no code":        {UPN: "ada@example.org", Password: password},
		"nobody":         {UPN: "eve@example.org", Password: password, Code: code()},
	} {
		r.Tenant = w.tenant
		_, err := w.svc.SignInWithPassword(w.ctx, r)
		if f := fault.As(err); f == nil || f.Reason != identity.WrongPassword {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.apply(w.svc.PrepareDisabled(w.tenant, user.ID, true))
	_, err = w.person("ada@example.org", code())
	reason(t, err, identity.WrongPassword)
}

func TestGuessingCodesIsSlowed(t *testing.T) {
	w := newWorld(t)
	_, code := w.user("ada@example.org")
	for range 5 {
		_, err := w.person("ada@example.org", "000000")
		reason(t, err, identity.WrongPassword)
	}
	_, err := w.person("ada@example.org", "000000")
	reason(t, err, identity.WrongPassword)
	_, err = w.person("ada@example.org", code())
	reason(t, err, identity.TooManyAttempts)
}

func TestDeviceCode(t *testing.T) {
	w := newWorld(t)
	user, code := w.user("ada@example.org")
	d := w.device()
	_, err := w.poll(d)
	reason(t, err, identity.AuthorizationPending)
	w.clock.Advance(time.Second)
	_, err = w.poll(d)
	reason(t, err, identity.SlowDown)
	w.clock.Advance(5 * time.Second)
	_, err = w.poll(d)
	reason(t, err, identity.SlowDown) // the interval has grown
	w.clock.Advance(15 * time.Second)
	_, err = w.poll(d)
	reason(t, err, identity.AuthorizationPending)

	pending, err := w.svc.PendingDevice(w.ctx, w.tenant, " "+string(d.UserCode[:4])+" "+string(d.UserCode[5:]), identity.From{})
	w.must(err)
	if pending.Client != "Microsoft Azure CLI" || pending.Resource != resource {
		t.Errorf("pending: %+v", pending)
	}
	who, err := w.person("ada@example.org", code())
	w.must(err)
	w.must(w.svc.DecideDevice(w.ctx, w.tenant, d.UserCode.Reveal(), who, true))
	token, err := w.poll(d)
	w.must(err)
	c, err := w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
	w.must(err)
	if c.Principal != user.ID || c.UPN != "ada@example.org" || c.Kind != principal.User || c.AppID != cliID {
		t.Errorf("caller %+v", c)
	}
	id := payload(t, token.IDToken.Reveal())
	if id["aud"] != cliID || id["iss"] != "https://login.test/x" || id["preferred_username"] != "ada@example.org" || id["oid"] != string(user.ID) {
		t.Errorf("id token %v", id)
	}
	_, err = w.poll(d)
	reason(t, err, identity.WrongCode) // good once
	reason(t, w.svc.DecideDevice(w.ctx, w.tenant, d.UserCode.Reveal(), who, true), identity.WrongCode)

	d = w.device()
	w.must(w.svc.DecideDevice(w.ctx, w.tenant, d.UserCode.Reveal(), nil, false))
	_, err = w.poll(d)
	reason(t, err, identity.CodeDeclined)

	d = w.device()
	reason(t, w.svc.DecideDevice(w.ctx, w.tenant, d.UserCode.Reveal(), nil, true), identity.WrongCode) // nobody allows
	w.clock.Advance(15 * time.Minute)
	_, err = w.poll(d)
	reason(t, err, identity.CodeExpired)
	reason(t, w.svc.DecideDevice(w.ctx, w.tenant, d.UserCode.Reveal(), who, true), identity.WrongCode)
}

func TestRefreshReuseEndsTheSignIn(t *testing.T) {
	w := newWorld(t)
	_, code := w.user("ada@example.org")
	who, err := w.person("ada@example.org", code())
	w.must(err)
	first, other := w.signInPerson(who), w.signInPerson(who)
	w.clock.Advance(time.Minute)
	second, err := w.refresh(first.Refresh)
	w.must(err)
	again, err := w.refresh(first.Refresh) // the answer was lost
	w.must(err)
	if again.Refresh != second.Refresh {
		t.Error("a repeated refresh gives another token")
	}
	third, err := w.refresh(second.Refresh)
	w.must(err)
	_, err = w.svc.Authenticate(w.ctx, third.Access.Reveal(), w.vaults)
	w.must(err)
	w.clock.Advance(11 * time.Second)
	_, err = w.refresh(second.Refresh)
	reason(t, err, identity.ReusedGrant)
	_, err = w.refresh(third.Refresh)
	reason(t, err, identity.WrongGrant)
	for _, token := range []*identity.Token{first, second, third} {
		_, err = w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
		reason(t, err, identity.StaleToken)
	}
	_, err = w.svc.Authenticate(w.ctx, other.Access.Reveal(), w.vaults)
	w.must(err) // another sign-in of the same person goes on
	_, err = w.refresh(other.Refresh)
	w.must(err)
}

func TestRefreshEnds(t *testing.T) {
	for name, end := range map[string]func(w *world, p *principal.Principal, credential string){
		"idle":           func(w *world, _ *principal.Principal, _ string) { w.clock.Advance(73 * time.Hour) },
		"user disabled":  func(w *world, p *principal.Principal, _ string) { w.apply(w.svc.PrepareDisabled(w.tenant, p.ID, true)) },
		"user deleted":   func(w *world, p *principal.Principal, _ string) { w.apply(w.svc.PrepareDelete(w.tenant, p.ID)) },
		"tokens revoked": func(w *world, p *principal.Principal, _ string) { w.apply(w.svc.PrepareRevokeTokens(w.tenant, p.ID)) },
		"credential removed": func(w *world, p *principal.Principal, c string) {
			w.apply(w.svc.PrepareRemoveCredential(w.tenant, p.ID, c))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			user, code := w.user("ada@example.org")
			who, err := w.person("ada@example.org", code())
			w.must(err)
			token := w.signInPerson(who)
			c, err := w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
			w.must(err)
			w.clock.Advance(time.Second)
			end(w, user, c.Credential)
			_, err = w.refresh(token.Refresh)
			reason(t, err, identity.WrongGrant)
		})
	}
}

func TestAuthorizationCode(t *testing.T) {
	w := newWorld(t)
	_, code := w.user("ada@example.org")
	who, err := w.person("ada@example.org", code())
	w.must(err)
	const verifier, redirect = "a-verifier-that-has-at-least-forty-three-characters", "http://localhost:8400/"
	sum := sha256.Sum256([]byte(verifier))
	request := identity.CodeRequest{Tenant: w.tenant, ClientID: cliID, Redirect: redirect, Challenge: base64.RawURLEncoding.EncodeToString(sum[:]),
		Resource: resource, Scope: openID, Nonce: "n"}
	redeem := func(c redact.String, change func(*identity.RedeemRequest)) (*identity.Token, error) {
		r := identity.RedeemRequest{Tenant: w.tenant, ClientID: cliID, Code: c, Verifier: verifier, Redirect: redirect}
		change(&r)
		return w.svc.RedeemCode(w.ctx, r)
	}
	keep := func(*identity.RedeemRequest) {}
	issued, err := w.svc.IssueCode(w.ctx, request, who)
	w.must(err)
	for _, wrong := range []func(*identity.RedeemRequest){
		func(r *identity.RedeemRequest) { r.Verifier = "another" },
		func(r *identity.RedeemRequest) { r.Redirect = "http://localhost:1/" },
		func(r *identity.RedeemRequest) { r.ClientID = identity.CLIClientID },
		func(r *identity.RedeemRequest) { r.Code += "x" },
	} {
		_, err := redeem(issued, wrong)
		reason(t, err, identity.WrongGrant)
	}
	token, err := redeem(issued, keep)
	w.must(err)
	if payload(t, token.IDToken.Reveal())["nonce"] != "n" {
		t.Error("the nonce is lost")
	}
	_, err = w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
	w.must(err)
	_, err = redeem(issued, keep)
	reason(t, err, identity.ReusedGrant)
	_, err = w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
	reason(t, err, identity.StaleToken)

	issued, err = w.svc.IssueCode(w.ctx, request, who)
	w.must(err)
	w.clock.Advance(6 * time.Minute)
	_, err = redeem(issued, keep)
	reason(t, err, identity.WrongGrant)

	for _, bad := range []string{"https://evil.test/", "http://evil.test/", "http://localhost.evil.test/", "http://localhost@evil.test/", "javascript:x", "", "http://localhost/#x"} {
		r := request
		r.Redirect = bad
		if _, err := w.svc.CheckCodeRequest(r); err == nil {
			t.Errorf("the redirect %q is taken", bad)
		}
	}
}

// overtaken lets another come between what a caller reads and what it writes.
type overtaken struct {
	store.Store
	by func()
}

// Update implements store.Store.
func (o *overtaken) Update(ctx context.Context, op store.Op, f func(store.Tx) error) error {
	if by := o.by; by != nil {
		o.by = nil
		by()
	}
	return o.Store.Update(ctx, op, f)
}

// TestCodeRedeemedTwiceAtOnce has two redeem one code at the same time: one of them stole it, so that neither may keep what it got.
func TestCodeRedeemedTwiceAtOnce(t *testing.T) {
	between := &overtaken{}
	w := newWorld(t, func(c *identity.Config) { between.Store, c.Store = c.Store, between })
	_, code := w.user("ada@example.org")
	who, err := w.person("ada@example.org", code())
	w.must(err)
	const verifier, redirect = "a-verifier-that-has-at-least-forty-three-characters", "http://localhost:8400/"
	sum := sha256.Sum256([]byte(verifier))
	issued, err := w.svc.IssueCode(w.ctx, identity.CodeRequest{Tenant: w.tenant, ClientID: cliID, Redirect: redirect,
		Challenge: base64.RawURLEncoding.EncodeToString(sum[:]), Resource: resource, Scope: openID}, who)
	w.must(err)
	redeem := func() (*identity.Token, error) {
		return w.svc.RedeemCode(w.ctx, identity.RedeemRequest{Tenant: w.tenant, ClientID: cliID, Code: issued, Verifier: verifier, Redirect: redirect})
	}
	var winner *identity.Token
	between.by = func() {
		var err error
		winner, err = redeem()
		w.must(err)
		_, err = w.svc.Authenticate(w.ctx, winner.Access.Reveal(), w.vaults)
		w.must(err)
	}
	_, err = redeem()
	reason(t, err, identity.ReusedGrant)
	if e := w.audit.last(); e.Reason != identity.ReusedGrant {
		t.Errorf("recorded as %q", e.Reason)
	}
	_, err = w.svc.Authenticate(w.ctx, winner.Access.Reveal(), w.vaults)
	reason(t, err, identity.StaleToken)
	_, err = w.refresh(winner.Refresh)
	reason(t, err, identity.WrongGrant)
}

func FuzzUserCode(f *testing.F) {
	f.Add("BCDF-GHJK")
	f.Add("bcdf ghjk")
	f.Fuzz(func(t *testing.T, text string) {
		code, err := identity.ParseUserCode(text)
		if err != nil {
			if code != "" {
				t.Error("a code with an error")
			}
			return
		}
		again, err := identity.ParseUserCode(identity.FormatUserCode(code).Reveal())
		if err != nil || again != code {
			t.Errorf("%q -> %q, %v", code.Reveal(), again.Reveal(), err)
		}
	})
}

func TestGeneratorThatNobodyNamed(t *testing.T) {
	w := newWorld(t)
	user, _ := w.user("ada@example.org")
	_, g, _, err := w.svc.PrepareTOTP(w.ctx, w.tenant, user, "")
	w.must(err)
	if g.Name == "" {
		t.Error("the generator has no name that people could tell it by")
	}
}
