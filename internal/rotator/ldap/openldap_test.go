package ldap_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/e2e/ldaptest"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/ldap"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// directory is the one server of this package's tests.
type directory struct {
	*ldaptest.Server
	entries atomic.Int64
}

func TestOpenLDAP(t *testing.T) {
	d := &directory{Server: ldaptest.Run(t)}
	d.must(t, func(c *goldap.Conn) error {
		request := goldap.NewAddRequest("ou=groups,"+ldaptest.Suffix, nil)
		request.Attribute("objectClass", []string{"organizationalUnit"})
		return c.Add(request)
	})
	t.Run("TLS", d.tls)
	t.Run("exact value", d.exactValue)
	t.Run("unknown scheme", d.unknownScheme)
	t.Run("lockout without a word", d.lockout)
	t.Run("policy", d.policy)
	t.Run("schemes", d.schemes)
	t.Run("conformance", func(t *testing.T) { rotatortest.Run(t, d.subject()) })
}

func (d *directory) must(t *testing.T, f func(*goldap.Conn) error) {
	t.Helper()
	if err := d.As(f); err != nil {
		t.Fatal(err)
	}
}

func dn(account string) string { return "cn=" + goldap.EscapeDN(account) + "," + ldaptest.Suffix }

// make makes accounts that are members of one group.
func (d *directory) make(t *testing.T, n int) []rotator.Credential {
	t.Helper()
	var made []rotator.Credential
	var members []string
	d.must(t, func(c *goldap.Conn) error {
		for range n {
			one := rotator.Credential{
				Account: fmt.Sprintf("app %d, %s", d.entries.Add(1), rotatortest.HostileName),
				Value:   rotatortest.Value(ldap.New().Describe().Value),
			}
			request := goldap.NewAddRequest(dn(one.Account), nil)
			request.Attribute("objectClass", []string{"person"})
			request.Attribute("sn", []string{"application"})
			request.Attribute("userPassword", []string{string(one.Value.Reveal())})
			if err := c.Add(request); err != nil {
				return err
			}
			made, members = append(made, one), append(members, dn(one.Account))
		}
		request := goldap.NewAddRequest(fmt.Sprintf("cn=group %d,ou=groups,%s", d.entries.Add(1), ldaptest.Suffix), nil)
		request.Attribute("objectClass", []string{"groupOfNames"})
		request.Attribute("member", members)
		return c.Add(request)
	})
	return made
}

func (d *directory) target(t *testing.T, address string, more map[string]any) *rotator.Target {
	t.Helper()
	c := map[string]any{"endpoints": []string{address}, "accountDN": "cn={account}," + ldaptest.Suffix, "groupBase": "ou=groups," + ldaptest.Suffix}
	if more["tls"] == nil {
		c["plaintext"] = true
	}
	for name, value := range more {
		c[name] = value
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return &rotator.Target{Config: text, Admin: rotator.Credential{Account: ldaptest.Keeper, Value: redact.Bytes(d.Password)}, Attempt: "attempt"}
}

func (d *directory) login(_ context.Context, _ string, c rotator.Credential) (bool, error) {
	conn, err := d.Bind(dn(c.Account), string(c.Value.Reveal()))
	if goldap.IsErrorWithCode(err, goldap.LDAPResultInvalidCredentials) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, conn.Close()
}

type session struct{ *goldap.Conn }

func (s session) Alive(context.Context) bool {
	_, err := s.WhoAmI(nil)
	return err == nil
}

func (s session) Close() { _ = s.Conn.Close() } // it may be gone already

// entry is all of an account's attributes, as lines.
func (d *directory) entry(t *testing.T, account string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	d.must(t, func(c *goldap.Conn) error {
		found, err := c.Search(&goldap.SearchRequest{BaseDN: dn(account), Filter: "(objectClass=*)", Attributes: []string{"*", "+"}})
		if err != nil {
			return err
		}
		for _, a := range found.Entries[0].Attributes {
			all[a.Name] = a.Values
		}
		return nil
	})
	return all
}

func (d *directory) snapshot(t *testing.T, account string) string {
	t.Helper()
	all := d.entry(t, account)
	for _, moves := range []string{"userPassword", "pwdChangedTime", "entryCSN", "modifiersName", "modifyTimestamp", "pwdFailureTime"} {
		delete(all, moves)
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// modify changes an account by root.
func (d *directory) modify(t *testing.T, account string, change func(*goldap.ModifyRequest)) {
	t.Helper()
	d.must(t, func(c *goldap.Conn) error {
		m := goldap.NewModifyRequest(dn(account), nil)
		change(m)
		return c.Modify(m)
	})
}

func (d *directory) lock(t *testing.T, account string) func() {
	// The time that means for ever, slapo-ppolicy(5).
	d.modify(t, account, func(m *goldap.ModifyRequest) { m.Replace("pwdAccountLockedTime", []string{"000001010000Z"}) })
	return func() { d.modify(t, account, func(m *goldap.ModifyRequest) { m.Replace("pwdAccountLockedTime", nil) }) }
}

func (d *directory) subject() rotatortest.Subject {
	return rotatortest.Subject{
		Rotator:    ldap.New(),
		Endpoints:  []string{d.Address()},
		Target:     func(t *testing.T, a []string) *rotator.Target { return d.target(t, a[0], nil) },
		Strategies: []rotator.Strategy{rotator.Dual, rotator.Alternating, rotator.Single},
		Make:       d.make,
		Login:      d.login,
		Open: func(t *testing.T, _ string, c rotator.Credential) rotatortest.Session {
			conn, err := d.Bind(dn(c.Account), string(c.Value.Reveal()))
			if err != nil {
				t.Fatal(err)
			}
			return session{conn}
		},
		Snapshot: d.snapshot,
		Log: func(t *testing.T) string {
			log, err := d.Logs()
			if err != nil {
				t.Fatal(err)
			}
			return string(log)
		},
		Absent: "nobody, at all",
		Powerless: func(*testing.T) rotator.Credential {
			return rotator.Credential{Account: ldaptest.Reader, Value: redact.Bytes(d.Password)}
		},
		LockOut: d.lock,
		Unequal: func(t *testing.T, accounts []string) {
			d.must(t, func(c *goldap.Conn) error {
				request := goldap.NewAddRequest(fmt.Sprintf("cn=group %d,ou=groups,%s", d.entries.Add(1), ldaptest.Suffix), nil)
				request.Attribute("objectClass", []string{"groupOfNames"})
				request.Attribute("member", []string{dn(accounts[0])})
				return c.Add(request)
			})
		},
		Broken:     json.RawMessage(`{"shape":"novell","endpoints":["ldaps://h:636"],"hash":"md5","accountDN":"x","groupBase":"=","startTLS":true,"plaintext":true}`),
		Complaints: []string{"shape", "endpoints", "hash", "accountDN", "groupBase", "plaintext"},
		Exceptions: map[rotatortest.Promise]string{
			rotatortest.DeadlineAtTarget: "a modification takes no deadline: one that the network delays is carried out when it arrives, unless the values have changed meanwhile",
		},
	}
}

// tls: the same over TLS from the start and by StartTLS, and not with another CA.
func (d *directory) tls(t *testing.T) {
	r := ldap.New()
	trust := map[string]string{"ca": string(d.CA)}
	for name, target := range map[string]*rotator.Target{
		"from the start": d.target(t, d.TLSAddress(), map[string]any{"tls": trust}),
		"StartTLS":       d.target(t, d.Address(), map[string]any{"tls": trust, "startTLS": true}),
	} {
		c := d.make(t, 1)[0]
		next := rotator.Credential{Account: c.Account, Value: rotatortest.Value(r.Describe().Value)}
		if _, err := r.Preflight(t.Context(), target, rotator.Plan{Strategy: rotator.Dual, Accounts: []string{c.Account}, Current: &c, Next: next}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := r.Set(t.Context(), target, rotator.Change{Credential: next, Keep: &c}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, one := range []rotator.Credential{c, next} {
			if logins, err := r.Probe(t.Context(), target, one); err != nil || logins.Verdict() != rotator.Accepted {
				t.Errorf("%s: got %+v, %v", name, logins, err)
			}
		}
	}
	for name, target := range map[string]*rotator.Target{
		"from the start": d.target(t, d.TLSAddress(), map[string]any{"tls": map[string]string{"serverName": "127.0.0.1"}}),
		"StartTLS":       d.target(t, d.Address(), map[string]any{"tls": map[string]string{"serverName": "127.0.0.1"}, "startTLS": true}),
	} {
		if err := r.Set(t.Context(), target, rotator.Change{Credential: d.make(t, 1)[0]}); rotator.ClassOf(err) != rotator.NotApplied {
			t.Errorf("%s: a certificate that nobody trusts: %v", name, err)
		}
	}
}

// exactValue: revoking deletes the one value and leaves the others byte by byte.
func (d *directory) exactValue(t *testing.T) {
	r, target := ldap.New(), d.target(t, d.Address(), nil)
	c := d.make(t, 1)[0]
	next := rotator.Credential{Account: c.Account, Value: rotatortest.Value(r.Describe().Value)}
	if err := r.Set(t.Context(), target, rotator.Change{Credential: next, Keep: &c}); err != nil {
		t.Fatal(err)
	}
	d.modify(t, c.Account, func(m *goldap.ModifyRequest) { m.Add("userPassword", []string{"somebody else's"}) })
	before := d.entry(t, c.Account)["userPassword"]
	if len(before) != 3 {
		t.Fatalf("%d values, want 3", len(before))
	}
	if err := r.Revoke(t.Context(), target, rotator.Change{Credential: c, Keep: &next}); err != nil {
		t.Fatal(err)
	}
	after := d.entry(t, c.Account)["userPassword"]
	if len(after) != 2 || slices.ContainsFunc(after, func(v string) bool { return !slices.Contains(before, v) }) {
		t.Errorf("%d values remain, or one is another than before", len(after))
	}
	if ok, err := d.login(t.Context(), "", c); ok || err != nil {
		t.Errorf("the revoked value: %v, %v", ok, err)
	}
}

// unknownScheme: a value that cannot be compared may be the one to revoke, so the revoke does not claim success.
func (d *directory) unknownScheme(t *testing.T) {
	r, target := ldap.New(), d.target(t, d.Address(), nil)
	c := d.make(t, 1)[0]
	next := rotator.Credential{Account: c.Account, Value: rotatortest.Value(r.Describe().Value)}
	if err := r.Set(t.Context(), target, rotator.Change{Credential: next}); err != nil {
		t.Fatal(err)
	}
	d.modify(t, c.Account, func(m *goldap.ModifyRequest) { m.Add("userPassword", []string{"{CRYPT}$1$x$y"}) })
	if err := r.Revoke(t.Context(), target, rotator.Change{Credential: c, Keep: &next}); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("got %v", err)
	}
	if err := r.Revoke(t.Context(), target, rotator.Change{Credential: c, Keep: &rotator.Credential{Account: c.Account}}); rotator.ClassOf(err) != rotator.Refused {
		t.Errorf("an empty password to keep: %v", err)
	}
}

// lockout: this server answers a locked account as it answers a wrong password; only the entry tells.
func (d *directory) lockout(t *testing.T) {
	r, target := ldap.New(), d.target(t, d.Address(), nil)
	c := d.make(t, 1)[0]
	wrong := c
	wrong.Value = rotatortest.Value(r.Describe().Value)
	if logins, err := r.Probe(t.Context(), target, wrong); err != nil || logins.Verdict() != rotator.Rejected {
		t.Fatalf("a wrong value: %+v, %v", logins, err)
	}
	undo := d.lock(t, c.Account)
	defer undo()
	if ok, err := d.login(t.Context(), "", c); ok || err != nil {
		t.Fatalf("a locked account logs in: %v, %v", ok, err)
	}
	if logins, err := r.Probe(t.Context(), target, c); err != nil || logins.Verdict() != rotator.Unknown || !strings.Contains(logins[0].Detail, "locked") {
		t.Errorf("got %+v, %v", logins, err)
	}
}

// policy: a directory that wants to see values before it hashes them refuses ours, and says so.
func (d *directory) policy(t *testing.T) {
	quality := func(level string) {
		d.must(t, func(c *goldap.Conn) error {
			m := goldap.NewModifyRequest(ldaptest.Policy, nil)
			m.Replace("pwdCheckQuality", []string{level})
			m.Replace("pwdMinLength", []string{"8"})
			return c.Modify(m)
		})
	}
	c := d.make(t, 1)[0]
	c.Value = rotatortest.Value(ldap.New().Describe().Value)
	quality("2")
	defer quality("0")
	if err := ldap.New().Set(t.Context(), d.target(t, d.Address(), nil), rotator.Change{Credential: c}); rotator.ClassOf(err) != rotator.Refused {
		t.Errorf("got %v", err)
	}
}

// schemes: what the rotator stores is a hash, and the server understands it.
func (d *directory) schemes(t *testing.T) {
	r := ldap.New()
	for name, want := range map[string]string{"ssha": "{SSHA}", "argon2": "{ARGON2}$argon2id$"} {
		target := d.target(t, d.Address(), map[string]any{"hash": name})
		c := d.make(t, 1)[0]
		next := rotator.Credential{Account: c.Account, Value: rotatortest.Value(r.Describe().Value)}
		if err := r.Set(t.Context(), target, rotator.Change{Credential: next, Keep: &c}); err != nil {
			t.Fatal(err)
		}
		// The first value is as it was made: in clear.
		if hashed := slices.DeleteFunc(d.entry(t, c.Account)["userPassword"], func(v string) bool { return v == string(c.Value.Reveal()) }); len(hashed) != 1 || !strings.HasPrefix(hashed[0], want) {
			t.Errorf("%s: %d values are stored in another form, want 1 of the form %s", name, len(hashed), want)
		}
		for _, one := range []rotator.Credential{c, next} {
			if ok, err := d.login(t.Context(), "", one); !ok || err != nil {
				t.Errorf("%s: %v, %v", name, ok, err)
			}
		}
		if err := r.Revoke(t.Context(), target, rotator.Change{Credential: c, Keep: &next}); err != nil {
			t.Fatal(err)
		}
		if n := len(d.entry(t, c.Account)["userPassword"]); n != 1 {
			t.Errorf("%s: %d values remain, want 1", name, n)
		}
	}
}
