package server

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/store"
)

// candidateRotations is how often the only password of an account changes under those who sign in with it.
const candidateRotations = 20

var errRefusedLogin = errors.New("the database refused the password")

// signIn is one login; errRefusedLogin when the password was wrong.
func (s database) signIn(ctx context.Context, user, password string) error {
	conn, err := pgx.Connect(ctx, s.DSN(user, password, "app"))
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return conn.Close(context.Background())
	case errors.As(err, &refused) && refused.Code == "28P01":
		return errRefusedLogin
	}
	return err
}

// signer signs in again and again, and counts.
type signer struct {
	logins, refused, lost, candidates atomic.Int64
	version                           atomic.Value
}

// TestASingleChangesUnderItsReaders changes the only password of an account while two applications sign in with it without a pause: one by our client, the
// other by the protocol of Key Vault alone. Each tries what it has, and when that is refused the current version or the candidate once.
func TestASingleChangesUnderItsReaders(t *testing.T) {
	t.Parallel() // it waits more than it computes
	pg := startDatabase(t)
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Rotation: quickRotation()}})
	azure := d.azure(t)
	azure.put("pg-admin", `{"username":"keeper","password":"keeper"}`)
	azure.put("db", `{"username":"app_a","password":"first"}`)
	text := strings.NewReplacer(`"alternating"`, `"single"`, `"app_a","app_b"`, `"app_a"`).Replace(pg.policy(`,"candidate":true`))
	policy, mistakes := rotation.ParsePolicy([]byte(text))
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	if err := d.core.rotation.SetPolicy(t.Context(), d.call(t), "db", policy); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	defer done.Wait()
	defer stop()
	byProtocol, byClient := &signer{}, &signer{}
	done.Go(func() { byProtocol.protocol(ctx, t, azure, pg) })
	value := d.value(t, "db")
	done.Go(func() { byClient.client(ctx, t, value, pg) })
	for range candidateRotations {
		rotateAndMove(t, d, byProtocol, byClient)
	}
	stop()
	done.Wait()
	for name, s := range map[string]*signer{"protocol": byProtocol, "client": byClient} {
		t.Logf("%s: %d logins, %d refused at first, %d by the candidate", name, s.logins.Load(), s.refused.Load(), s.candidates.Load())
		if s.lost.Load() > 0 || s.refused.Load() == 0 {
			t.Errorf("%s: %d logins failed after their retry, of %d that were refused at first", name, s.lost.Load(), s.refused.Load())
		}
	}
	if byProtocol.candidates.Load() == 0 || byClient.candidates.Load() == 0 {
		t.Error("a candidate was never needed")
	}
}

// rotateAndMove waits for the end of a rotation, and until all sign in with the new version.
func rotateAndMove(t *testing.T, d *Dev, all ...*signer) {
	t.Helper()
	run, err := d.core.rotation.Run(t.Context(), d.call(t), "db", rotation.Start{Cause: rotation.OnDemand})
	if err != nil {
		t.Fatal(err)
	}
	var r *rotation.Run
	eventually(t, "the rotation", func() bool {
		if r, err = d.core.rotation.GetRun(t.Context(), d.call(t), run.ID); err != nil {
			t.Fatal(err)
		}
		return r.State == rotation.Done
	})
	eventually(t, "the move of all, and the end of the revocation", func() bool {
		for _, s := range all {
			if s.version.Load() != string(r.Pending) {
				return false
			}
		}
		open, err := d.core.rotation.Runs(t.Context(), d.call(t), store.RunQuery{Open: true, Limit: 1})
		return err == nil && len(open) == 0
	})
}

// protocol knows the candidate by the headers of the door alone.
func (s *signer) protocol(ctx context.Context, t *testing.T, c *caller, pg database) {
	version, user, password, _ := offered(t, c, "db")
	for ctx.Err() == nil {
		s.logins.Add(1)
		err := pg.signIn(ctx, user, password)
		if errors.Is(err, errRefusedLogin) {
			s.refused.Add(1)
			now, u, p, candidate := offered(t, c, "db")
			if now == version && candidate != "" {
				s.candidates.Add(1)
				now, u, p, _ = offered(t, c, "db/"+candidate)
			}
			version, user, password = now, u, p
			err = pg.signIn(ctx, user, password)
		}
		switch {
		case err == nil:
			s.version.Store(version)
		case ctx.Err() == nil:
			s.lost.Add(1)
			t.Errorf("signing in with %s: %v", version, err)
		}
	}
}

// offered reads a version, and which candidate the answer names.
func offered(t *testing.T, c *caller, path string) (version, user, password, candidate string) {
	answer, text := c.do("GET", "/secrets/"+path+"?api-version=7.6", "", "X-Keywright-Accept", "candidate", "X-Keywright-Instance", "protocol")
	var got struct{ Value, ID string }
	var login struct{ Username, Password string }
	if answer.StatusCode != http.StatusOK || json.Unmarshal([]byte(text), &got) != nil || json.Unmarshal([]byte(got.Value), &login) != nil {
		t.Errorf("reading %s: %s", path, answer.Status)
	}
	return got.ID[strings.LastIndexByte(got.ID, '/')+1:], login.Username, login.Password, answer.Header.Get("X-Keywright-Candidate")
}

// client leaves all of that to our client.
func (s *signer) client(ctx context.Context, t *testing.T, v *client.Value, pg database) {
	for ctx.Err() == nil {
		s.logins.Add(1)
		version := ""
		err := v.SignIn(ctx, func(ctx context.Context, secret *client.Secret) error {
			version = secret.Version
			var login struct{ Username, Password string }
			if err := json.Unmarshal(secret.Bytes(), &login); err != nil {
				return err
			}
			err := pg.signIn(ctx, login.Username, login.Password)
			if errors.Is(err, errRefusedLogin) {
				s.refused.Add(1)
			}
			if err == nil && strings.Contains(strings.Join(secret.Labels, " "), client.CandidateLabel) {
				s.candidates.Add(1)
			}
			return err
		}, func(err error) bool { return errors.Is(err, errRefusedLogin) })
		switch {
		case err == nil:
			s.version.Store(version)
		case ctx.Err() == nil:
			s.lost.Add(1)
			t.Errorf("signing in with %s: %v", version, err)
		}
	}
}

// value keeps a secret at hand, as our client does. It polls seldom, so that what moves it is the database's refusal or the stream.
func (d *Dev) value(t *testing.T, name string) *client.Value {
	t.Helper()
	pem, err := os.ReadFile(d.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	url := "https://" + d.address()
	c, err := client.New(client.Config{URL: url, RootCAs: roots, Tokens: client.StaticToken(d.token(t, url)), Instance: "client"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := client.NewValue(t.Context(), client.ValueConfig{Vault: c.Vault(devVault), Name: name, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// TestNobodyElseSeesACandidate asks for a candidate in every way but the right ones.
func TestNobodyElseSeesACandidate(t *testing.T) {
	t.Parallel() // it waits more than it computes
	pg := startDatabase(t)
	hold := make(chan struct{})
	config := quickRotation()
	config.Failpoint = func(p rotation.Point) error {
		if p == "before call of setting" {
			<-hold
		}
		return nil
	}
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Rotation: config}})
	t.Cleanup(func() { close(hold) })
	azure := d.azure(t)
	azure.put("pg-admin", `{"username":"keeper","password":"keeper"}`)
	azure.put("db", `{"username":"app_a","password":"first"}`)
	text := strings.NewReplacer(`"alternating"`, `"single"`, `"app_a","app_b"`, `"app_a"`).Replace(pg.policy(`,"candidate":true`))
	policy, mistakes := rotation.ParsePolicy([]byte(text))
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	if err := d.core.rotation.SetPolicy(t.Context(), d.call(t), "db", policy); err != nil {
		t.Fatal(err)
	}
	if _, err := d.core.rotation.Run(t.Context(), d.call(t), "db", rotation.Start{Cause: rotation.OnDemand}); err != nil {
		t.Fatal(err)
	}
	candidate, current := "", ""
	eventually(t, "a candidate", func() bool {
		current, _, _, candidate = offered(t, azure, "db")
		return candidate != ""
	})
	if answer, _ := azure.do("GET", "/secrets/db?api-version=7.6", ""); answer.StatusCode != http.StatusOK || answer.Header.Get("X-Keywright-Candidate") != "" {
		t.Error("who did not ask was told of a candidate")
	}
	for _, accept := range []string{"", "Candidate", "candidate, more"} {
		if answer, _ := azure.do("GET", "/secrets/db/"+candidate+"?api-version=7.6", "", "X-Keywright-Accept", accept); answer.StatusCode != http.StatusNotFound {
			t.Errorf("with %q the candidate is readable: %s", accept, answer.Status)
		}
	}
	if _, list := azure.do("GET", "/secrets/db/versions?api-version=7.6", "", "X-Keywright-Accept", "candidate"); strings.Contains(list, candidate) {
		t.Error("the candidate is in the list of versions")
	}
	if version, _, password, _ := offered(t, azure, "db/"+candidate); version != candidate || password == "first" {
		t.Errorf("reading the candidate by its id gave %s", version)
	}
	if version, _, password, _ := offered(t, azure, "db"); version != current || password != "first" {
		t.Errorf("the current version is %s while its candidate waits", version)
	}
}
