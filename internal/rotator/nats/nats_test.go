package nats_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/e2e/natstest"
	"github.com/keywright/keywright/e2e/oneport"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/nats"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// server is one real server with its file of users.
type server struct {
	*natstest.Server
	users atomic.Int64
}

func TestNATS(t *testing.T) {
	s := &server{Server: natstest.Run(t, natstest.Config{})}
	t.Run("only the one is disconnected", s.disconnects)
	t.Run("a configuration that is refused", s.refused)
	t.Run("a check that does not end", s.slowCheck)
	t.Run("a PID file of something else", s.otherProcess)
	t.Run("the rest of the file", s.restOfFile)
	t.Run("many users at once", s.together)
	t.Run("logins while it reloads", s.duringReloads)
	t.Run("a reload of somebody else", s.otherReload)
	t.Run("conformance", func(t *testing.T) { rotatortest.Run(t, s.subject(t)) })
}

func TestTLS(t *testing.T) {
	s := &server{Server: natstest.Run(t, natstest.Config{TLS: true})}
	two := s.make(t, 2)
	r := nats.New()
	good := s.target(t, s.Address(), s.Monitoring(), map[string]any{"tls": map[string]string{"ca": string(s.CA)}})
	plan := rotator.Plan{Strategy: rotator.Alternating, Accounts: []string{two[0].Account, two[1].Account}, Current: &two[0], Next: two[1]}
	if _, err := r.Preflight(t.Context(), good, plan); err != nil {
		t.Fatal(err)
	}
	if logins, err := r.Probe(t.Context(), good, two[0]); err != nil || logins.Verdict() != rotator.Accepted {
		t.Errorf("got %+v, %v", logins, err)
	}
	for name, more := range map[string]map[string]any{"a certificate that nobody trusts": {"tls": map[string]string{"serverName": "127.0.0.1"}}} {
		if logins, err := r.Probe(t.Context(), s.target(t, s.Address(), s.Monitoring(), more), two[0]); err != nil || logins.Verdict() != rotator.Unknown {
			t.Errorf("%s: %+v, %v", name, logins, err)
		}
	}
}

// A server that offers no TLS gets no password.
func TestNoTLSNoPassword(t *testing.T) {
	s := &server{Server: natstest.Run(t, natstest.Config{})}
	c := s.make(t, 1)[0]
	target := s.target(t, s.Address(), s.Monitoring(), map[string]any{"tls": map[string]string{"ca": string(s.CA)}})
	if logins, err := nats.New().Probe(t.Context(), target, c); err != nil || logins.Verdict() != rotator.Unknown {
		t.Errorf("got %+v, %v", logins, err)
	}
	// The server traces every CONNECT that it gets.
	if log, err := s.Logs(); err != nil || strings.Contains(string(log), "keywright probe") {
		t.Errorf("a login was sent without TLS (%v)", err)
	}
}

// edit changes the list of users as another program would, by the same lock, and reloads.
func (s *server) edit(t *testing.T, change func([]map[string]any) []map[string]any) {
	t.Helper()
	lock, err := os.OpenFile(s.UsersFile()+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	var file struct {
		Users []map[string]any `json:"users"`
	}
	text, err := os.ReadFile(s.UsersFile())
	if err == nil {
		err = json.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	file.Users = change(file.Users)
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false) // the server's format has no \u003e
	if err := e.Encode(file); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(s.UsersFile(), out.Bytes(), 0o600), s.Reload(context.WithoutCancel(t.Context()))); err != nil {
		t.Fatal(err)
	}
}

func (s *server) make(t *testing.T, n int) []rotator.Credential {
	t.Helper()
	var made []rotator.Credential
	for range n {
		made = append(made, rotator.Credential{
			Account: fmt.Sprintf("app %d %s", s.users.Add(1), rotatortest.HostileName),
			Value:   rotatortest.Value(rotator.DefaultValue),
		})
	}
	s.edit(t, func(users []map[string]any) []map[string]any {
		for _, c := range made {
			users = append(users, map[string]any{"user": c.Account, "password": string(c.Value.Reveal()), "permissions": map[string]any{"publish": []string{"app.>"}, "subscribe": []string{"app.>", "_INBOX.>"}}})
		}
		return users
	})
	return made
}

func (s *server) target(t *testing.T, address, monitoring string, more map[string]any) *rotator.Target {
	t.Helper()
	c := map[string]any{"servers": []any{map[string]any{
		"endpoint": address, "monitoring": monitoring, "usersFile": s.UsersFile(), "pidFile": s.PIDFile(),
		"configFile": s.ConfigFile(), "program": s.Program,
	}}}
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
	return &rotator.Target{Config: text, Attempt: "attempt"}
}

func (s *server) connect(c rotator.Credential, closed func()) (*client.Conn, error) {
	return client.Connect("nats://"+s.Address(), client.UserInfo(c.Account, string(c.Value.Reveal())), client.NoReconnect(), client.Name("the application"),
		client.ErrorHandler(func(*client.Conn, *client.Subscription, error) {}), client.ClosedHandler(func(*client.Conn) { closed() }))
}

func (s *server) login(_ context.Context, _ string, c rotator.Credential) (bool, error) {
	conn, err := s.connect(c, func() {})
	if errors.Is(err, client.ErrAuthorization) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	conn.Close()
	return true, nil
}

type session struct{ *client.Conn }

func (s session) Alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.FlushWithContext(ctx) == nil
}

func (s *server) open(t *testing.T, _ string, c rotator.Credential) rotatortest.Session {
	t.Helper()
	conn, err := s.connect(c, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return session{conn}
}

func (s *server) snapshot(t *testing.T, account string) string {
	t.Helper()
	var file struct {
		Users []map[string]any `json:"users"`
	}
	text, err := os.ReadFile(s.UsersFile())
	if err == nil {
		err = json.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range file.Users {
		if u["user"] == account {
			delete(u, "password")
			text, err := json.Marshal(u)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	t.Fatalf("%q is gone", account)
	return ""
}

func (s *server) subject(t *testing.T) rotatortest.Subject {
	return rotatortest.Subject{
		Rotator: nats.New(),
		// Monitoring and clients share a port, so that one proxy hurts both.
		Endpoints:  []string{oneport.Start(t, "GET ", s.Monitoring(), s.Address())},
		Target:     func(t *testing.T, a []string) *rotator.Target { return s.target(t, a[0], a[0], nil) },
		Strategies: []rotator.Strategy{rotator.Alternating},
		Make:       s.make,
		Login:      s.login,
		Open:       s.open,
		Snapshot:   s.snapshot,
		Log: func(t *testing.T) string {
			log, err := s.Logs()
			if err != nil {
				t.Fatal(err)
			}
			return string(log)
		},
		Absent: "nobody at all",
		Unequal: func(t *testing.T, accounts []string) {
			s.edit(t, func(users []map[string]any) []map[string]any {
				for _, u := range users {
					if u["user"] == accounts[1] {
						u["permissions"] = map[string]any{"publish": []string{">"}}
					}
				}
				return users
			})
		},
		Broken:     json.RawMessage(`{"servers":[{"endpoint":"nats://h:4222","monitoring":"h","usersFile":"users.json","pidFile":"/run/pid","program":"nats-server"}],"plaintext":true,"tls":{"ca":"x"}}`),
		Complaints: []string{"servers.endpoint", "servers.monitoring", "servers.usersFile", "servers.program", "tls.ca", "plaintext"},
		Exceptions: map[rotatortest.Promise]string{
			rotatortest.SessionsSurvive: "a reload disconnects the clients of the user whose password changed: of a pair, that is the idle one",
		},
	}
}

// disconnects: a change ends the sessions of its user and of nobody else.
func (s *server) disconnects(t *testing.T) {
	two := s.make(t, 2)
	gone := make(chan struct{})
	idle, err := s.connect(two[1], func() { close(gone) })
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	busy := s.open(t, "", two[0])
	defer busy.Close()
	next := rotator.Credential{Account: two[1].Account, Value: rotatortest.Value(rotator.DefaultValue)}
	if err := nats.New().Set(t.Context(), s.target(t, s.Address(), s.Monitoring(), nil), rotator.Change{Credential: next}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("the idle user's client is still there")
	}
	if !busy.Alive(t.Context()) {
		t.Error("the other user's client was disconnected")
	}
}

// refused: where the server would not take its configuration, the old file comes back, and the server is not told.
func (s *server) refused(t *testing.T) {
	two := s.make(t, 2)
	config, err := os.ReadFile(s.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(s.UsersFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.ConfigFile(), append(config, "no_such_option: {\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(s.ConfigFile(), config, 0o600); err != nil {
			t.Fatal(err)
		}
	}()
	next := rotator.Credential{Account: two[1].Account, Value: rotatortest.Value(rotator.DefaultValue)}
	err = nats.New().Set(t.Context(), s.target(t, s.Address(), s.Monitoring(), nil), rotator.Change{Credential: next})
	if rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("got %v", err)
	}
	if after, err := os.ReadFile(s.UsersFile()); err != nil || string(after) != string(before) {
		t.Errorf("the file is not as it was (%v)", err)
	}
}

// slowCheck: a check that does not come to its end says nothing about the configuration, and the file is as it was.
func (s *server) slowCheck(t *testing.T) {
	two := s.make(t, 2)
	before, err := os.ReadFile(s.UsersFile())
	if err != nil {
		t.Fatal(err)
	}
	slow := filepath.Join(t.TempDir(), "slow")
	if err := os.WriteFile(slow, []byte("#!/bin/sh\nexec sleep 60\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	target := s.target(t, s.Address(), s.Monitoring(), map[string]any{"servers": []any{map[string]any{"endpoint": s.Address(), "monitoring": s.Monitoring(),
		"usersFile": s.UsersFile(), "pidFile": s.PIDFile(), "configFile": s.ConfigFile(), "program": slow}}})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	next := rotator.Credential{Account: two[1].Account, Value: rotatortest.Value(rotator.DefaultValue)}
	if err := nats.New().Set(ctx, target, rotator.Change{Credential: next}); rotator.ClassOf(err) != rotator.NotApplied {
		t.Errorf("got %v, of class %s", err, rotator.ClassOf(err))
	}
	if after, err := os.ReadFile(s.UsersFile()); err != nil || string(after) != string(before) {
		t.Errorf("the file is not as it was (%v)", err)
	}
}

// otherProcess: a process that is no NATS server gets no signal: SIGHUP would end it.
func (s *server) otherProcess(t *testing.T) {
	two := s.make(t, 2)
	pid, err := os.ReadFile(s.PIDFile())
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill() // it may be gone, which the test has said then
		_ = other.Wait()
		if err := os.WriteFile(s.PIDFile(), pid, 0o600); err != nil {
			t.Fatal(err)
		}
	}()
	if err := os.WriteFile(s.PIDFile(), []byte(strconv.Itoa(other.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	err = nats.New().Set(t.Context(), s.target(t, s.Address(), s.Monitoring(), nil), rotator.Change{Credential: two[1]})
	if rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("got %v", err)
	}
	if err := other.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the other process is gone: %v", err)
	}
}

// together: all users share a file, and no change gets lost in another.
func (s *server) together(t *testing.T) {
	all := s.make(t, 12)
	target := s.target(t, s.Address(), s.Monitoring(), nil)
	errs := make([]error, len(all))
	var group sync.WaitGroup
	for i := range all {
		all[i].Value = rotatortest.Value(rotator.DefaultValue)
		group.Go(func() { errs[i] = nats.New().Set(t.Context(), target, rotator.Change{Credential: all[i]}) })
	}
	group.Wait()
	for i, c := range all {
		if errs[i] != nil {
			t.Errorf("user %d: %v", i+1, errs[i])
		}
		if ok, err := s.login(t.Context(), "", c); !ok || err != nil {
			t.Errorf("user %d: %v, %v", i+1, ok, err)
		}
	}
}

// duringReloads: a reload refuses every login that is under way, whatever its password. That is no verdict on the password.
func (s *server) duringReloads(t *testing.T) {
	one := s.make(t, 1)[0]
	target := s.target(t, s.Address(), s.Monitoring(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	var reloads, logins sync.WaitGroup
	reloads.Go(func() {
		for ctx.Err() == nil {
			_ = s.Reload(ctx) // the end of the test may come in between
		}
	})
	var refused atomic.Int64
	for range 4 {
		logins.Go(func() {
			for range 100 {
				if ok, err := s.login(ctx, "", one); err == nil && !ok {
					refused.Add(1)
				}
				if l, err := nats.New().Probe(ctx, target, one); err != nil || l.Verdict() == rotator.Rejected {
					t.Errorf("a good password: %+v, %v", l, err)
				}
			}
		})
	}
	logins.Wait()
	cancel()
	reloads.Wait()
	t.Logf("the server refused %d of 400 plain logins with the right password", refused.Load())
	wrong := one
	wrong.Value = rotatortest.Value(rotator.DefaultValue)
	if l, err := nats.New().Probe(t.Context(), target, wrong); err != nil || l.Verdict() != rotator.Rejected {
		t.Errorf("a wrong password: %+v, %v", l, err)
	}
}

// otherReload: a change is over when the server has loaded this very file, and not when it has loaded any.
func (s *server) otherReload(t *testing.T) {
	two := s.make(t, 2)
	target := s.target(t, s.Address(), s.Monitoring(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	var reloads sync.WaitGroup
	reloads.Go(func() {
		for ctx.Err() == nil {
			_ = s.Reload(ctx) // the end of the test may come in between
		}
	})
	defer reloads.Wait()
	defer cancel()
	for range 20 {
		next := rotator.Credential{Account: two[1].Account, Value: rotatortest.Value(rotator.DefaultValue)}
		if err := nats.New().Set(t.Context(), target, rotator.Change{Credential: next}); err != nil {
			t.Fatal(err)
		}
		if l, err := nats.New().Probe(t.Context(), target, next); err != nil || l.Verdict() == rotator.Rejected { // a reload may cut it off
			t.Fatalf("after its change: %+v, %v", l, err)
		}
	}
}

// restOfFile: other users and members stay, with the file's mode, and no value is in it.
func (s *server) restOfFile(t *testing.T) {
	two := s.make(t, 2)
	if err := os.Chmod(s.UsersFile(), 0o640); err != nil {
		t.Fatal(err)
	}
	before := s.snapshot(t, two[0].Account) + s.snapshot(t, two[1].Account)
	next := rotator.Credential{Account: two[1].Account, Value: rotatortest.Value(rotator.DefaultValue)}
	if err := nats.New().Set(t.Context(), s.target(t, s.Address(), s.Monitoring(), nil), rotator.Change{Credential: next}); err != nil {
		t.Fatal(err)
	}
	if err := nats.New().Revoke(t.Context(), s.target(t, s.Address(), s.Monitoring(), nil), rotator.Change{Credential: two[1], Keep: &rotator.Credential{Account: two[1].Account}}); rotator.ClassOf(err) != rotator.Refused {
		t.Errorf("an empty password to keep: %v", err)
	}
	if after := s.snapshot(t, two[0].Account) + s.snapshot(t, two[1].Account); after != before {
		t.Errorf("members changed: %s, before %s", after, before)
	}
	info, err := os.Stat(s.UsersFile())
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v (%v)", info.Mode(), err)
	}
	if text, err := os.ReadFile(s.UsersFile()); err != nil || strings.Contains(string(text), string(next.Value.Reveal())) {
		t.Errorf("the file holds the value in clear (%v)", err)
	}
}
