package mssql_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	driver "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"github.com/keywright/keywright/e2e/tdsfake"
	"github.com/keywright/keywright/e2e/transcript"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/mssql"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// The real driver against a protocol fake: what is proved here is the rotator, and not that SQL Server behaves so.

// group is an availability group: replicas with logins of their own.
type group struct {
	replicas []*tdsfake.Server
	// log has the statements as a server would show them that redacts nothing.
	log *transcript.Buffer
}

func newGroup(t *testing.T, n int) *group {
	t.Helper()
	g := &group{log: &transcript.Buffer{}}
	for range n {
		s, err := tdsfake.Start(tdsfake.Config{Trace: g.log, Logins: map[string]tdsfake.Login{
			"keywright": {Password: "the administrator's own", Admin: true}, "guest": {Password: "the guest's own"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		g.replicas = append(g.replicas, s)
	}
	return g
}

func (g *group) endpoints() (list []string) {
	for _, s := range g.replicas {
		list = append(list, s.Addr().String())
	}
	return list
}

func (g *group) target(addresses []string) *rotator.Target {
	ca := ""
	for _, s := range g.replicas {
		ca += string(s.CA())
	}
	config, err := json.Marshal(map[string]any{"endpoints": addresses, "tls": map[string]string{"ca": ca}})
	if err != nil {
		panic(err) // strings always encode
	}
	return &rotator.Target{Config: config, Attempt: "attempt", Admin: rotator.Credential{Account: "keywright", Value: redact.Bytes("the administrator's own")}}
}

var serial atomic.Int64

func (g *group) make(_ *testing.T, n int) (made []rotator.Credential) {
	for range n {
		name := strings.ReplaceAll(rotatortest.HostileName, `\`, "]") + strconv.FormatInt(serial.Add(1), 10)
		sid := make([]byte, 16)
		_, _ = rand.Read(sid)
		for _, s := range g.replicas {
			s.Add(name, tdsfake.Login{Password: "TheFirst1", SID: sid, Roles: []string{"readers"}})
		}
		made = append(made, rotator.Credential{Account: name, Value: redact.Bytes("TheFirst1")})
	}
	return made
}

// connect logs in without the rotator.
func (g *group) connect(ctx context.Context, endpoint string, c rotator.Credential) (*sql.DB, *sql.Conn, error) {
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return nil, nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, nil, err
	}
	settings, err := msdsn.SetupTLS("", "", false, host, "")
	if err != nil {
		return nil, nil, err
	}
	settings.RootCAs = x509.NewCertPool()
	for _, s := range g.replicas {
		settings.RootCAs.AppendCertsFromPEM(s.CA())
	}
	db := sql.OpenDB(driver.NewConnectorConfig(msdsn.Config{Host: host, Port: n, User: c.Account, Password: string(c.Value.Reveal()), Encryption: msdsn.EncryptionRequired,
		TLSConfig: settings, HostInCertificateProvided: true, Protocols: []string{"tcp"}, Parameters: map[string]string{}, AppName: "an application"}))
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, nil, err
	}
	return db, conn, nil
}

type held struct {
	db   *sql.DB
	conn *sql.Conn
}

func (h held) Alive(ctx context.Context) bool {
	var one int
	return h.conn.QueryRowContext(ctx, "SELECT 1").Scan(&one) == nil
}

func (h held) Close() {
	_ = h.conn.Close()
	_ = h.db.Close()
}

func subject(t *testing.T, g *group) rotatortest.Subject {
	return rotatortest.Subject{
		Rotator:    mssql.New(),
		Endpoints:  g.endpoints(),
		Strategies: []rotator.Strategy{rotator.Single, rotator.Alternating},
		Target:     func(_ *testing.T, addresses []string) *rotator.Target { return g.target(addresses) },
		Make:       g.make,
		Login: func(ctx context.Context, endpoint string, c rotator.Credential) (bool, error) {
			db, conn, err := g.connect(ctx, endpoint, c)
			var answer driver.Error
			if errors.As(err, &answer) && answer.Number == 18456 {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			held{db, conn}.Close()
			return true, nil
		},
		Open: func(t *testing.T, endpoint string, c rotator.Credential) rotatortest.Session {
			db, conn, err := g.connect(t.Context(), endpoint, c)
			if err != nil {
				t.Fatal(err)
			}
			return held{db, conn}
		},
		Snapshot: func(_ *testing.T, account string) (text string) {
			for _, s := range g.replicas {
				text += s.Describe(account) + "; "
			}
			return text
		},
		Log:    func(*testing.T) string { return g.log.String() },
		Absent: "nobody",
		Powerless: func(*testing.T) rotator.Credential {
			return rotator.Credential{Account: "guest", Value: redact.Bytes("the guest's own")}
		},
		RefusedValue: func(*testing.T) redact.Bytes { return redact.Bytes("pässwörter") },
		LockOut: func(_ *testing.T, account string) func() {
			for _, s := range g.replicas {
				s.Lock(account, true)
			}
			return func() {
				for _, s := range g.replicas {
					s.Lock(account, false)
				}
			}
		},
		Unequal: func(_ *testing.T, accounts []string) {
			g.replicas[len(g.replicas)-1].Grant(accounts[1], "readers", "writers")
		},
		Broken:     json.RawMessage(`{"endpoints":["nowhere"],"send":"loud","tls":{"ca":"none"}}`),
		Complaints: []string{"host:port", "send", "PEM"},
	}
}

func TestConformance(t *testing.T) { rotatortest.Run(t, subject(t, newGroup(t, 1))) }

// With two replicas, each is changed and every endpoint is asked.
func TestConformanceOfGroup(t *testing.T) {
	s := subject(t, newGroup(t, 2))
	s.Strategies = []rotator.Strategy{rotator.Alternating}
	rotatortest.Run(t, s)
}

// A replica whose login has another SID would leave orphans behind after a failover.
func TestSIDsMustAgree(t *testing.T) {
	g := newGroup(t, 2)
	c := g.make(t, 1)[0]
	g.replicas[1].Add(c.Account, tdsfake.Login{Password: "TheFirst1"})
	_, err := mssql.New().Preflight(t.Context(), g.target(g.endpoints()), rotator.Plan{Strategy: rotator.Single, Accounts: []string{c.Account}, Current: &c, Next: c})
	if rotator.ClassOf(err) != rotator.Misconfigured || !strings.Contains(err.Error(), "SID") {
		t.Error(err)
	}
}

// sa has one SID on all servers, so two servers' sa would count as one account.
func TestBuiltInLoginsAreRefused(t *testing.T) {
	g := newGroup(t, 1)
	g.replicas[0].Add("sa", tdsfake.Login{Password: "TheFirst1", SID: []byte{1}})
	_, err := mssql.New().Preflight(t.Context(), g.target(g.endpoints()), rotator.Plan{Strategy: rotator.Single, Accounts: []string{"sa"}, Next: rotator.Credential{Account: "sa"}})
	if rotator.ClassOf(err) != rotator.Misconfigured {
		t.Error(err)
	}
}

// A locked login is left alone.
func TestLockedIsBusy(t *testing.T) {
	g := newGroup(t, 1)
	c := g.make(t, 1)[0]
	g.replicas[0].Lock(c.Account, true)
	if err := mssql.New().Set(t.Context(), g.target(g.endpoints()), rotator.Change{Credential: c}); rotator.ClassOf(err) != rotator.Busy {
		t.Error(err)
	}
}

// Revoking for good disables the login and setting enables it, and neither ends a session.
func TestRevokeDisables(t *testing.T) {
	g := newGroup(t, 1)
	c := g.make(t, 1)[0]
	target := g.target(g.endpoints())
	if err := mssql.New().Revoke(t.Context(), target, rotator.Change{Credential: c}); err != nil {
		t.Fatal(err)
	}
	if text := g.replicas[0].Describe(c.Account); !strings.HasSuffix(text, "false") {
		t.Errorf("not disabled: %s", text)
	}
	if err := mssql.New().Set(t.Context(), target, rotator.Change{Credential: c}); err != nil {
		t.Fatal(err)
	}
	if text := g.replicas[0].Describe(c.Account); !strings.HasSuffix(text, "true") {
		t.Errorf("not enabled: %s", text)
	}
}

// The other way of sending works too, for servers whose policy has to see passwords.
func TestSendsText(t *testing.T) {
	g := newGroup(t, 1)
	c := g.make(t, 1)[0]
	target := g.target(g.endpoints())
	target.Config = json.RawMessage(strings.Replace(string(target.Config), "{", `{"send":"text",`, 1))
	c.Value = redact.Bytes("It's1Quote'd")
	if err := mssql.New().Set(t.Context(), target, rotator.Change{Credential: c}); err != nil {
		t.Fatal(err)
	}
	if logins, err := mssql.New().Probe(t.Context(), target, c); err != nil || logins.Verdict() != rotator.Accepted {
		t.Errorf("%+v, %v", logins, err)
	}
	if !strings.Contains(g.log.String(), "It''s1Quote''d") {
		t.Error("the trace does not show what was sent: the suite's look into it proves nothing")
	}
}

func TestPage(t *testing.T) { rotatortest.Page(t, mssql.New(), "sql-server.md", 1) }
