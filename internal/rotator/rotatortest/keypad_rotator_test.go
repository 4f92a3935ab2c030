package rotatortest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotator"
)

// keypadRotator is the worked example of the author's guide: a whole rotator for the keypad system.
type keypadRotator struct {
	// break… are for the test of the suite: each breaks one promise.
	broken string
}

// keypadConfig is the target's configuration.
type keypadConfig struct {
	Address string `json:"address"`
	Site    string `json:"site"`
}

func (r *keypadRotator) Describe() rotator.Description {
	return rotator.Description{
		Name: "keypad", Title: "Keypad",
		Strategies: []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating},
		Evidence:   rotator.AccountEvidence,
		Value:      rotator.DefaultValue,
		Verified:   []rotator.System{{Product: "keypad", Version: "1"}},
		Config: []rotator.Member{
			{Name: "address", Type: "host:port", Required: true, Help: "Where the keypad listens."},
			{Name: "site", Type: "string", Required: true, Help: "The name of the building."},
		},
	}
}

func (r *keypadRotator) config(t json.RawMessage) (*keypadConfig, error) {
	var c keypadConfig
	if err := rotator.Decode("keypad", t, &c); err != nil && r.broken != "unknown members" {
		return nil, err
	}
	var mistakes []string
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		mistakes = append(mistakes, "address must be host:port")
	}
	if c.Site == "" && (len(mistakes) == 0 || r.broken != "first mistake only") {
		mistakes = append(mistakes, "site must be given")
	}
	if mistakes != nil {
		return nil, fault.New(fault.Invalid, "the configuration of the keypad target is wrong: %s", strings.Join(mistakes, "; "))
	}
	return &c, nil
}

func (r *keypadRotator) Check(config json.RawMessage) error {
	_, err := r.config(config)
	return err
}

// call makes one request on a connection of its own. An answer below 400 is decoded into the result, any other becomes an error that says
// what is known.
func (r *keypadRotator) call(ctx context.Context, c *keypadConfig, as rotator.Credential, method, path string, body, result any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if r.broken == "no deadline" {
		ctx = context.WithoutCancel(ctx)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address+path, bytes.NewReader(encoded))
	if err != nil {
		return rotator.Fail(rotator.Misconfigured, err, "making a request for the keypad at %s", c.Address)
	}
	request.SetBasicAuth(url.PathEscape(as.Account), string(as.Value.Reveal()))
	// The keypad drops what arrives too late.
	if deadline, ok := ctx.Deadline(); ok && r.broken != "late effect" {
		request.Header.Set("Deadline", deadline.Format(time.RFC3339Nano))
	}
	transport := &http.Transport{DisableKeepAlives: r.broken != "connections stay"}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return r.unreached(c, err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 400 {
		return refusal(c, response.StatusCode)
	}
	if result == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(result)
}

// unreached knows only of a connection that was never made that nothing happened.
func (r *keypadRotator) unreached(c *keypadConfig, err error) error {
	class := rotator.Doubt
	if errors.Is(err, syscall.ECONNREFUSED) || r.broken == "claims too much" {
		class = rotator.NotApplied
	}
	return rotator.Fail(class, err, "the keypad at %s did not answer", c.Address)
}

// status is the keypad's answer below the class.
type status int

func (s status) Error() string { return "HTTP status " + http.StatusText(int(s)) }

func refusal(c *keypadConfig, code int) error {
	class := rotator.Doubt
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden:
		class = rotator.Denied
	case http.StatusNotFound:
		class = rotator.Misconfigured
	case http.StatusUnprocessableEntity:
		class = rotator.Refused
	case http.StatusLocked:
		class = rotator.Busy
	case http.StatusRequestTimeout:
		class = rotator.NotApplied
	}
	return rotator.Fail(class, status(code), "the keypad at %s refused", c.Address)
}

func answered(err error, code int) bool {
	var s status
	return errors.As(err, &s) && int(s) == code
}

// account is what the keypad tells of an account.
type account struct {
	System  string        `json:"system"`
	Account keypadAccount `json:"account"`
}

func (a *account) identity() string { return a.System + ":" + a.Account.ID }

func (r *keypadRotator) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	c, err := r.config(t.Config)
	if err != nil {
		return nil, err
	}
	d := r.Describe()
	want := 1
	if p.Strategy == rotator.Alternating {
		want = 2
	}
	if !d.Supports(p.Strategy) || len(p.Accounts) != want {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the strategy %s with %d accounts is not possible on a keypad", p.Strategy, len(p.Accounts))
	}
	report := &rotator.Report{Identities: map[string]string{}, System: "keypad 1"}
	var doors [][]string
	for _, name := range p.Accounts {
		var a account
		if err := r.call(ctx, c, t.Admin, "GET", "/accounts/"+url.PathEscape(name), nil, &a); err != nil {
			return nil, err
		}
		report.Identities[name] = a.identity()
		if r.broken == "identity by address" {
			report.Identities[name] = c.Address + ":" + name
		}
		if slices.Sort(a.Account.Doors); len(doors) > 0 && !slices.Equal(doors[0], a.Account.Doors) && r.broken != "unequal pair" {
			return nil, rotator.Fail(rotator.Misconfigured, nil, "the accounts %q do not open the same doors", p.Accounts)
		}
		doors = append(doors, a.Account.Doors)
	}
	if r.broken == "preflight changes" {
		if err := r.put(ctx, t, p.Next.Account, p.Next); err != nil {
			return nil, err
		}
	}
	if p.Current == nil {
		return report, nil
	}
	switch logins, err := r.Probe(ctx, t, *p.Current); {
	case err != nil:
		return nil, err
	case logins.Verdict() == rotator.Rejected && r.broken != "current unchecked":
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the keypad refuses the present code of %q", p.Current.Account)
	}
	return report, nil
}

// put makes the account accept exactly these codes. The keypad takes the whole list, so doing it again changes nothing.
func (r *keypadRotator) put(ctx context.Context, t *rotator.Target, name string, accepted ...rotator.Credential) error {
	c, err := r.config(t.Config)
	if err != nil {
		return err
	}
	body := map[string]any{"hashes": []string{}}
	hashes := []string{}
	for _, one := range accepted {
		hashes = append(hashes, digest(string(one.Value.Reveal())))
		if r.broken == "plaintext" {
			body["comment"] = string(one.Value.Reveal())
		}
	}
	body["hashes"] = hashes
	if r.broken == "attributes" {
		body["doors"] = []string{"front"}
	}
	err = r.call(ctx, c, t.Admin, "PUT", "/accounts/"+url.PathEscape(name), body, nil)
	if err != nil && r.broken == "value in error" {
		return fmt.Errorf("setting %s: %w", accepted[0].Value.Reveal(), err)
	}
	return err
}

func (r *keypadRotator) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	accepted := []rotator.Credential{c.Credential}
	if c.Keep != nil && r.broken != "keep dropped" {
		accepted = append(accepted, *c.Keep)
	}
	if r.broken == "sessions end" {
		if _, err := r.Terminate(ctx, t, c.Account); err != nil {
			return err
		}
	}
	err := r.put(ctx, t, c.Account, accepted...)
	if r.broken == "errors swallowed" && rotator.ClassOf(err) == rotator.Doubt {
		return nil
	}
	return err
}

func (r *keypadRotator) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	if r.broken == "revoke forgets" {
		return nil
	}
	var accepted []rotator.Credential
	if c.Keep != nil {
		accepted = append(accepted, *c.Keep)
	}
	err := r.put(ctx, t, c.Account, accepted...)
	if answered(err, http.StatusNotFound) && r.broken != "absent errs" {
		return nil // what is gone accepts nothing
	}
	return err
}

func (r *keypadRotator) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	config, err := r.config(t.Config)
	if err != nil {
		return nil, err
	}
	login := rotator.Login{Endpoint: config.Address}
	var who struct{ System, ID string }
	switch err := r.call(ctx, config, c, "GET", "/whoami", nil, &who); {
	case answered(err, http.StatusUnauthorized):
		login.Verdict, login.Detail = rotator.Rejected, "the code is wrong"
	case err != nil && r.broken == "down is rejected":
		login.Verdict, login.Detail = rotator.Rejected, err.Error()
	case err != nil:
		login.Detail = err.Error()
	default:
		login.Identity = who.System + ":" + who.ID
		login.Verdict = rotator.Accepted
		// Only the porter can say whose the number is that the login became.
		var a account
		if err := r.call(ctx, config, t.Admin, "GET", "/accounts/"+url.PathEscape(c.Account), nil, &a); err != nil {
			login.Verdict, login.Detail = rotator.Unknown, err.Error()
		} else if a.identity() != login.Identity && r.broken != "shadow" {
			login.Verdict, login.Detail = rotator.Unknown, "the login became another account"
		}
	}
	return rotator.Logins{login}, nil
}

func (r *keypadRotator) Sessions(ctx context.Context, t *rotator.Target, name string) ([]rotator.Session, error) {
	c, err := r.config(t.Config)
	if err != nil {
		return nil, err
	}
	var found []keypadSession
	if err := r.call(ctx, c, t.Admin, "GET", "/accounts/"+url.PathEscape(name)+"/sessions", nil, &found); err != nil && r.broken != "no evidence is evidence" {
		return nil, err
	}
	sessions := make([]rotator.Session, 0, len(found))
	for _, s := range found {
		sessions = append(sessions, rotator.Session{Endpoint: c.Address, Account: s.Account, ID: s.ID, Address: s.Address})
	}
	return sessions, nil
}

func (r *keypadRotator) Terminate(ctx context.Context, t *rotator.Target, name string) (int, error) {
	c, err := r.config(t.Config)
	if err != nil {
		return 0, err
	}
	n := 0
	if r.broken == "terminates nothing" {
		return 0, nil
	}
	err = r.call(ctx, c, t.Admin, "DELETE", "/accounts/"+url.PathEscape(name)+"/sessions", nil, &n)
	return n, err
}
