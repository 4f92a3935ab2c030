package rabbitmq_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/keywright/keywright/e2e/oneport"
	"github.com/keywright/keywright/e2e/rabbitmqtest"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/rabbitmq"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// broker is the one server of this package's tests.
type broker struct {
	*rabbitmqtest.Server
	users atomic.Int64
}

func TestRabbitMQ(t *testing.T) {
	b := &broker{Server: rabbitmqtest.Run(t)}
	t.Run("TLS", b.tls)
	t.Run("pair", b.pair)
	t.Run("virtual host", b.virtualHost)
	t.Run("other cluster", b.otherCluster)
	t.Run("fresh hash refuses everything", b.disabled)
	t.Run("provisioning", b.provisioning)
	t.Run("conformance", func(t *testing.T) { rotatortest.Run(t, b.subject(t)) })
}

// admin makes a call that has to succeed.
func (b *broker) admin(t *testing.T, method, path, body string) string {
	t.Helper()
	status, answer, err := b.Call(context.WithoutCancel(t.Context()), method, path, body)
	if err != nil || status >= 300 {
		t.Fatalf("%s %s: %d %s %v", method, path, status, answer, err)
	}
	return string(answer)
}

// make makes users with tags, permissions, topic permissions and a limit.
func (b *broker) make(t *testing.T, n int) []rotator.Credential {
	t.Helper()
	var made []rotator.Credential
	for range n {
		c := rotator.Credential{
			Account: fmt.Sprintf("app/%d %s", b.users.Add(1), rotatortest.HostileName),
			Value:   rotatortest.Value(rotator.DefaultValue),
		}
		name := url.PathEscape(c.Account)
		b.admin(t, http.MethodPut, "users/"+name, fmt.Sprintf(`{"password":%q,"tags":"monitoring,policymaker"}`, c.Value.Reveal()))
		b.admin(t, http.MethodPut, "permissions/%2F/"+name, `{"configure":"^app","write":".*","read":".*"}`)
		b.admin(t, http.MethodPut, "topic-permissions/%2F/"+name, `{"exchange":"amq.topic","write":"^a","read":".*"}`)
		b.admin(t, http.MethodPut, "user-limits/"+name+"/max-connections", `{"value":50}`)
		made = append(made, c)
	}
	return made
}

func (b *broker) target(t *testing.T, management, amqp string, more map[string]any) *rotator.Target {
	t.Helper()
	c := map[string]any{"managementEndpoint": management, "amqpEndpoints": []string{amqp}, "vhost": "/"}
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
	return &rotator.Target{Config: text, Admin: rotator.Credential{Account: rabbitmqtest.Administrator, Value: redact.Bytes(b.Password)}, Attempt: "attempt"}
}

// plain reaches the broker directly, without TLS.
func (b *broker) plain(t *testing.T, more map[string]any) *rotator.Target {
	return b.target(t, fmt.Sprintf("127.0.0.1:%d", b.ManagementPort), fmt.Sprintf("127.0.0.1:%d", b.Port), more)
}

func (b *broker) dial(c rotator.Credential) (*amqp.Connection, error) {
	return amqp.DialConfig(b.AMQP(), amqp.Config{
		SASL:       []amqp.Authentication{&amqp.PlainAuth{Username: c.Account, Password: string(c.Value.Reveal())}},
		Vhost:      "/",
		Properties: amqp.Table{"connection_name": "the application"},
	})
}

// login logs in without any library: it says AMQP 0-9-1's first words, up to the answer to the password. The library that the rotator uses would
// have to be believed, and waits three seconds for a refusal.
func (b *broker) login(ctx context.Context, _ string, c rotator.Credential) (bool, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", b.Port))
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return false, err
	}
	if _, err := conn.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return false, err
	}
	if _, err := method(conn); err != nil {
		return false, err
	}
	capability := "\x1cauthentication_failure_closet\x01"
	properties := "\x0ccapabilitiesF" + long(capability)
	startOK := "\x00\x0a\x00\x0b" + long(properties) + "\x05PLAIN" + long("\x00"+c.Account+"\x00"+string(c.Value.Reveal())) + "\x05en_US"
	if _, err := conn.Write(frame(startOK)); err != nil {
		return false, err
	}
	answer, err := method(conn)
	switch {
	case err != nil:
		return false, err
	case strings.HasPrefix(answer, "\x00\x0a\x00\x1e"): // connection.tune
		return true, nil
	case strings.HasPrefix(answer, "\x00\x0a\x00\x32\x01\x93"): // connection.close with code 403
		return false, nil
	default:
		return false, fmt.Errorf("the broker answered %q", answer)
	}
}

// long is a long string or a table of AMQP, frame a method frame on channel 0.
func long(s string) string { return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s }

func frame(payload string) []byte { return []byte("\x01\x00\x00" + long(payload) + "\xce") }

// method reads a method frame and returns its payload.
func method(r io.Reader) (string, error) {
	head := make([]byte, 7)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[3:])+1)
	_, err := io.ReadFull(r, body)
	return string(body[:len(body)-1]), err
}

type session struct {
	*amqp.Connection
	channel *amqp.Channel
}

func (s *session) Alive(context.Context) bool {
	return s.channel.ExchangeDeclarePassive("amq.direct", "direct", true, false, false, false, nil) == nil
}

func (s *session) Close() { _ = s.Connection.Close() } // it may be gone already

func (b *broker) open(t *testing.T, _ string, c rotator.Credential) rotatortest.Session {
	t.Helper()
	conn, err := b.dial(c)
	if err != nil {
		t.Fatal(err)
	}
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return &session{conn, channel}
}

func (b *broker) snapshot(t *testing.T, account string) string {
	t.Helper()
	var u map[string]any
	name := url.PathEscape(account)
	if err := json.Unmarshal([]byte(b.admin(t, http.MethodGet, "users/"+name, "")), &u); err != nil {
		t.Fatal(err)
	}
	delete(u, "password_hash")
	text, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + b.admin(t, http.MethodGet, "users/"+name+"/permissions", "") +
		b.admin(t, http.MethodGet, "users/"+name+"/topic-permissions", "") + b.admin(t, http.MethodGet, "user-limits/"+name, "")
}

func (b *broker) subject(t *testing.T) rotatortest.Subject {
	management, broker := fmt.Sprintf("127.0.0.1:%d", b.ManagementPort), fmt.Sprintf("127.0.0.1:%d", b.Port)
	leases := map[string]any{"dynamic": map[string]any{"tags": []string{}, "permissions": []any{map[string]string{"vhost": "/", "configure": "", "write": ".*", "read": ".*"}}}}
	return rotatortest.Subject{
		Rotator: rabbitmq.New(),
		// The management API and AMQP share a port, so that one proxy hurts both.
		Endpoints:  []string{oneport.Start(t, "AMQP", broker, management)},
		Target:     func(t *testing.T, a []string) *rotator.Target { return b.target(t, a[0], a[0], leases) },
		Strategies: []rotator.Strategy{rotator.Single, rotator.Alternating, rotator.Dynamic},
		Make:       b.make,
		Login:      b.login,
		Open:       b.open,
		Snapshot:   b.snapshot,
		Log: func(t *testing.T) string {
			log, err := b.Logs()
			if err != nil {
				t.Fatal(err)
			}
			return string(log)
		},
		Absent: "nobody/at all",
		Powerless: func(t *testing.T) rotator.Credential {
			c := rotator.Credential{Account: fmt.Sprintf("watcher %d", b.users.Add(1)), Value: rotatortest.Value(rotator.DefaultValue)}
			b.admin(t, http.MethodPut, "users/"+url.PathEscape(c.Account), fmt.Sprintf(`{"password":%q,"tags":"monitoring"}`, c.Value.Reveal()))
			return c
		},
		LockOut: func(t *testing.T, account string) func() {
			limit := "user-limits/" + url.PathEscape(account) + "/max-connections"
			b.admin(t, http.MethodPut, limit, `{"value":0}`)
			return func() { b.admin(t, http.MethodPut, limit, `{"value":50}`) }
		},
		Unequal: func(t *testing.T, accounts []string) {
			b.admin(t, http.MethodPut, "permissions/%2F/"+url.PathEscape(accounts[1]), `{"configure":"","write":".*","read":".*"}`)
		},
		Prefix:     "kw-lease-",
		Broken:     json.RawMessage(`{"managementEndpoint":"https://mq","amqpEndpoints":[],"vhost":"","dynamic":{"tags":["administrator"]}}`),
		Complaints: []string{"managementEndpoint", "amqpEndpoints", "vhost", "dynamic.tags", "dynamic.permissions"},
		Exceptions: map[rotatortest.Promise]string{
			rotatortest.DeadlineAtTarget: "the management API takes no deadline: a PUT that the network delays is carried out when it arrives",
		},
	}
}

// tls: the same over verified TLS, and not with another CA.
func (b *broker) tls(t *testing.T) {
	r := rabbitmq.New()
	c := b.make(t, 1)[0]
	management, address := fmt.Sprintf("127.0.0.1:%d", b.ManagementTLSPort), fmt.Sprintf("127.0.0.1:%d", b.TLSPort)
	good := b.target(t, management, address, map[string]any{"tls": map[string]string{"ca": string(b.CA)}})
	next := rotator.Credential{Account: c.Account, Value: rotatortest.Value(rotator.DefaultValue)}
	if _, err := r.Preflight(t.Context(), good, rotator.Plan{Strategy: rotator.Single, Accounts: []string{c.Account}, Current: &c, Next: next}); err != nil {
		t.Fatal(err)
	}
	if err := r.Set(t.Context(), good, rotator.Change{Credential: next}); err != nil {
		t.Fatal(err)
	}
	for credential, want := range map[*rotator.Credential]rotator.Verdict{&c: rotator.Rejected, &next: rotator.Accepted} {
		if logins, err := r.Probe(t.Context(), good, *credential); err != nil || logins.Verdict() != want {
			t.Errorf("got %+v, %v, want %v", logins, err, want)
		}
	}
	untrusting := b.target(t, management, address, map[string]any{"tls": map[string]string{"serverName": "127.0.0.1"}})
	if err := r.Set(t.Context(), untrusting, rotator.Change{Credential: c}); rotator.ClassOf(err) != rotator.NotApplied {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	if logins, err := r.Probe(t.Context(), untrusting, next); err != nil || logins.Verdict() != rotator.Unknown {
		t.Errorf("a certificate that nobody trusts: %+v, %v", logins, err)
	}
}

// pair: every kind of difference is found and named.
func (b *broker) pair(t *testing.T) {
	r := rabbitmq.New()
	for what, differ := range map[string]func(name string){
		"tags": func(name string) { b.admin(t, http.MethodPut, "users/"+name, `{"password":"x","tags":"monitoring"}`) },
		"permissions": func(name string) {
			b.admin(t, http.MethodPut, "permissions/%2F/"+name, `{"configure":"","write":"","read":""}`)
		},
		"topic":  func(name string) { b.admin(t, http.MethodDelete, "topic-permissions/%2F/"+name, "") },
		"limits": func(name string) { b.admin(t, http.MethodPut, "user-limits/"+name+"/max-channels", `{"value":7}`) },
	} {
		two := b.make(t, 2)
		plan := rotator.Plan{Strategy: rotator.Alternating, Accounts: []string{two[0].Account, two[1].Account}, Current: &two[0], Next: two[1]}
		if _, err := r.Preflight(t.Context(), b.plain(t, nil), plan); err != nil {
			t.Fatal(err)
		}
		differ(url.PathEscape(two[1].Account))
		_, err := r.Preflight(t.Context(), b.plain(t, nil), plan)
		if rotator.ClassOf(err) != rotator.Misconfigured || !strings.Contains(err.Error(), what) {
			t.Errorf("%s differ: %v", what, err)
		}
	}
}

// virtualHost: a right password that does not open the virtual host is neither accepted nor rejected.
func (b *broker) virtualHost(t *testing.T) {
	b.admin(t, http.MethodPut, "vhosts/other", "")
	c := b.make(t, 1)[0]
	target := b.plain(t, map[string]any{"vhost": "other"})
	logins, err := rabbitmq.New().Probe(t.Context(), target, c)
	if err != nil || logins.Verdict() != rotator.Unknown || !strings.Contains(logins[0].Detail, "password is right") {
		t.Errorf("got %+v, %v", logins, err)
	}
	wrong := c
	wrong.Value = rotatortest.Value(rotator.DefaultValue)
	if logins, err := rabbitmq.New().Probe(t.Context(), target, wrong); err != nil || logins.Verdict() != rotator.Rejected {
		t.Errorf("a wrong password: %+v, %v", logins, err)
	}
	_, err = rabbitmq.New().Preflight(t.Context(), target, rotator.Plan{Strategy: rotator.Single, Accounts: []string{c.Account}, Current: &c, Next: c})
	if rotator.ClassOf(err) != rotator.Misconfigured || !strings.Contains(err.Error(), "other") {
		t.Errorf("Preflight: %v", err)
	}
}

// otherCluster: an endpoint that answers as another cluster than the management API's is refused.
func (b *broker) otherCluster(t *testing.T) {
	c := b.make(t, 1)[0]
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write(greeting("rabbit@elsewhere")) // the client says what came of it
			time.AfterFunc(time.Second, func() { conn.Close() })
		}
	}()
	target := b.target(t, fmt.Sprintf("127.0.0.1:%d", b.ManagementPort), listener.Addr().String(), nil)
	_, err = rabbitmq.New().Preflight(t.Context(), target, rotator.Plan{Strategy: rotator.Single, Accounts: []string{c.Account}, Next: c})
	if rotator.ClassOf(err) != rotator.Misconfigured || !strings.Contains(err.Error(), "rabbit@elsewhere") {
		t.Errorf("got %v", err)
	}
}

// greeting is connection.start of AMQP 0-9-1 (class 10, method 10) by the broker of a cluster.
func greeting(cluster string) []byte {
	property := "\x0ccluster_nameS" + long(cluster)
	return frame("\x00\x0a\x00\x0a\x00\x09" + long(property) + long("PLAIN") + long("en_US"))
}

// disabled: after a revoke without a value to keep, nothing logs in, and a Set brings the account back as it was.
func (b *broker) disabled(t *testing.T) {
	r, target := rabbitmq.New(), b.plain(t, nil)
	c := b.make(t, 1)[0]
	before := b.snapshot(t, c.Account)
	if err := r.Revoke(t.Context(), target, rotator.Change{Credential: c}); err != nil {
		t.Fatal(err)
	}
	if logins, err := r.Probe(t.Context(), target, c); err != nil || logins.Verdict() != rotator.Rejected {
		t.Errorf("revoked: %+v, %v", logins, err)
	}
	if err := r.Set(t.Context(), target, rotator.Change{Credential: c}); err != nil {
		t.Fatal(err)
	}
	if ok, err := b.login(t.Context(), "", c); err != nil || !ok {
		t.Errorf("set again: %v, %v", ok, err)
	}
	if after := b.snapshot(t, c.Account); after != before {
		t.Errorf("the account changed: %s, before %s", after, before)
	}
	if err := r.Set(t.Context(), target, rotator.Change{Credential: c, Keep: &c}); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("two passwords for one user: %v", err)
	}
	if err := r.Revoke(t.Context(), target, rotator.Change{Credential: c, Keep: &rotator.Credential{Account: c.Account}}); rotator.ClassOf(err) != rotator.Refused {
		t.Errorf("an empty password to keep: %v", err)
	}
}

// provisioning: an account that is there already is made to fit, and the administrator is never one for a lease.
func (b *broker) provisioning(t *testing.T) {
	r := rabbitmq.New()
	b.admin(t, http.MethodPut, "vhosts/left", "")
	c := b.make(t, 1)[0]
	name := url.PathEscape(c.Account)
	b.admin(t, http.MethodPut, "permissions/left/"+name, `{"configure":"","write":"","read":""}`)
	target := b.plain(t, map[string]any{"dynamic": map[string]any{"permissions": []any{map[string]string{"vhost": "/", "read": "^x"}}}})
	if err := r.Provision(t.Context(), target, c, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, want := b.admin(t, http.MethodGet, "users/"+name+"/permissions", ""), `"vhost":"/","configure":"","write":"","read":"^x"}]`; !strings.HasSuffix(got, want) {
		t.Errorf("permissions are %s, want %s", got, want)
	}
	missing := b.plain(t, map[string]any{"dynamic": map[string]any{"permissions": []any{map[string]string{"vhost": "missing"}}}})
	if err := r.Provision(t.Context(), missing, c, time.Time{}); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("a virtual host that is missing: %v", err)
	}
	if err := r.Remove(t.Context(), target, rabbitmqtest.Administrator); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("removing the administrator: %v", err)
	}
}
