package ldap_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/ldap"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

const (
	adBase  = "CN=Users,DC=example,DC=org"
	adAdmin = "CN=keeper," + adBase
)

type domain struct {
	*fakeAD
	made     atomic.Int64
	password redact.Bytes
}

func newDomain(t *testing.T) *domain {
	d := &domain{fakeAD: startAD(t), password: rotatortest.Value(ldap.New().Describe().Value)}
	d.users[strings.ToLower(adAdmin)] = &adUser{guid: "keeper's guid...", sam: "keeper", password: string(d.password), resets: true}
	return d
}

func adDN(account string) string { return "CN=" + goldap.EscapeDN(account) + "," + adBase }

// account runs f with an account, under the lock.
func (d *domain) account(name string, f func(*adUser)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d.users[strings.ToLower(adDN(name))])
}

func (d *domain) make(_ *testing.T, n int) []rotator.Credential {
	var made []rotator.Credential
	for range n {
		number := d.made.Add(1)
		c := rotator.Credential{Account: fmt.Sprintf("app %d %s", number, rotatortest.HostileName), Value: rotatortest.Value(ldap.New().Describe().Value)}
		d.mu.Lock()
		d.users[strings.ToLower(adDN(c.Account))] = &adUser{guid: fmt.Sprintf("guid %011d", number), sam: fmt.Sprintf("app%d", number), password: string(c.Value)}
		d.mu.Unlock()
		made = append(made, c)
	}
	return made
}

func (d *domain) target(t *testing.T, address string) *rotator.Target {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"shape": "ad", "endpoints": []string{address}, "accountDN": "CN={account}," + adBase, "groupBase": adBase, "tls": map[string]string{"ca": string(d.ca)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &rotator.Target{Config: text, Admin: rotator.Credential{Account: adAdmin, Value: d.password}, Attempt: "attempt"}
}

func (d *domain) bind(c rotator.Credential) (*goldap.Conn, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(d.ca)
	conn, err := goldap.DialURL("ldaps://"+d.address, goldap.DialWithTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}))
	if err != nil {
		return nil, err
	}
	if err := conn.Bind(adDN(c.Account), string(c.Value.Reveal())); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (d *domain) login(_ context.Context, _ string, c rotator.Credential) (bool, error) {
	conn, err := d.bind(c)
	if goldap.IsErrorWithCode(err, goldap.LDAPResultInvalidCredentials) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, conn.Close()
}

// TestActiveDirectoryShape passes the suite against a protocol fake: the real system is unverified.
func TestActiveDirectoryShape(t *testing.T) {
	d := newDomain(t)
	rotatortest.Run(t, rotatortest.Subject{
		Rotator:    ldap.New(),
		Endpoints:  []string{d.address},
		Target:     func(t *testing.T, a []string) *rotator.Target { return d.target(t, a[0]) },
		Strategies: []rotator.Strategy{rotator.Single, rotator.Alternating},
		Make:       d.make,
		Login:      d.login,
		Open: func(t *testing.T, _ string, c rotator.Credential) rotatortest.Session {
			conn, err := d.bind(c)
			if err != nil {
				t.Fatal(err)
			}
			return session{conn}
		},
		Snapshot: func(_ *testing.T, account string) (text string) {
			d.account(account, func(u *adUser) { text = u.guid + u.sam })
			return text
		},
		Log: func(*testing.T) string {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.log.String()
		},
		Absent:       "nobody",
		RefusedValue: func(*testing.T) redact.Bytes { return redact.Bytes("canaryvalue") },
		LockOut: func(_ *testing.T, account string) func() {
			d.account(account, func(u *adUser) { u.locked = true })
			return func() { d.account(account, func(u *adUser) { u.locked = false }) }
		},
		Broken:     json.RawMessage(`{"shape":"ad","endpoints":["h"],"plaintext":true}`),
		Complaints: []string{"endpoints", "plaintext"},
		Exceptions: map[rotatortest.Promise]string{rotatortest.DeadlineAtTarget: "a modification takes no deadline"},
	})
	if d.mu.Lock(); d.anonymous > 0 {
		t.Errorf("%d binds had a name and no password", d.anonymous)
	}
	d.mu.Unlock()
}

// An account that changes its own password needs the old one, and repeats the change after a lost answer.
func TestActiveDirectorySelf(t *testing.T) {
	d, r := newDomain(t), ldap.New()
	c := d.make(t, 1)[0]
	next := rotator.Credential{Account: c.Account, Value: rotatortest.Value(r.Describe().Value)}
	target := d.target(t, d.address)
	target.Admin = c
	target.Config = json.RawMessage(strings.Replace(string(target.Config), `,"groupBase":"`+adBase+`"`, "", 1))
	if _, err := r.Preflight(t.Context(), target, rotator.Plan{Strategy: rotator.Single, Accounts: []string{c.Account}, Current: &c, Next: next}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Set(t.Context(), target, rotator.Change{Credential: next}); err != nil {
			t.Fatal(err)
		}
	}
	if logins, err := r.Probe(t.Context(), target, next); err != nil || logins.Verdict() != rotator.Accepted {
		t.Errorf("the new value: %+v, %v", logins, err)
	}
	if logins, err := r.Probe(t.Context(), target, c); err != nil || logins.Verdict() != rotator.Rejected {
		t.Errorf("the old value: %+v, %v", logins, err)
	}
	third := rotator.Credential{Account: c.Account, Value: rotatortest.Value(r.Describe().Value)}
	if err := r.Set(t.Context(), target, rotator.Change{Credential: third}); rotator.ClassOf(err) != rotator.Denied {
		t.Errorf("an old password that is none any more: %v", err)
	}
}

func TestActiveDirectoryRefusals(t *testing.T) {
	d, r := newDomain(t), ldap.New()
	two := d.make(t, 2)
	target := d.target(t, d.address)
	target.Admin = rotator.Credential{Account: adDN(two[0].Account), Value: two[0].Value}
	if err := r.Set(t.Context(), target, rotator.Change{Credential: two[1]}); rotator.ClassOf(err) != rotator.Denied {
		t.Errorf("no right to reset: %v", err)
	}
	target = d.target(t, d.address)
	if err := r.Set(t.Context(), target, rotator.Change{Credential: two[0], Keep: &two[0]}); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("two passwords: %v", err)
	}
	plan := rotator.Plan{Strategy: rotator.Dual, Accounts: []string{two[0].Account}, Next: two[0]}
	if _, err := r.Preflight(t.Context(), target, plan); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("the strategy dual: %v", err)
	}
}
