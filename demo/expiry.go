package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/e2e/npm"
	"github.com/keywright/keywright/e2e/process"
)

const (
	// functionRole is what the function may do: read and set secrets.
	functionRole = "Key Vault Secrets Officer"
	// expiresIn is nearer than the 30 days ahead at which near expiries are told, and functionValidity what the function gives its versions.
	expiresIn = 20 * 24 * time.Hour
	// askEvery is how often the sample application is asked for its health.
	askEvery = 100 * time.Millisecond
)

// expiring is the chapter of the event flow that users of a cloud vault know: a secret is near its expiry, a function hears of it, stores a new version
// and updates the database, while the application of part one stays healthy.
type expiring struct {
	*changing
	stage    *stage
	app      *app
	sample   npm.Config
	modules  string
	dsn      string
	names    naming
	function *process.Process
	said     told
}

func (e *expiring) tell(ctx context.Context) (err error) {
	chapter(1, "a secret near its expiry, an event, and a function")
	port, err := process.FreePort()
	if err != nil {
		return err
	}
	var identity *api.Principal
	if err := step("a function runs, with the Azure SDK and a service principal of its own", func() (_ string, err error) {
		identity, err = e.startFunction(ctx, port)
		return "it may read and set secrets", err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.function.Stop(syscall.SIGTERM, 5*time.Second)) }()
	if err := step("it is subscribed to the vault's events", func() (string, error) { return e.subscribe(ctx, port) }); err != nil {
		return err
	}
	watch, health := context.WithCancel(ctx)
	defer health()
	var well vigil
	well.running.Go(func() { well.watch(watch, e.app) })
	run, err := e.expire(ctx, identity)
	health()
	well.running.Wait()
	if err != nil {
		return err
	}
	hops(run, e.said.all()...)
	if err := e.waited(ctx, run); err != nil {
		return err
	}
	remark("with one password, new logins with the old one fail between the update and the promotion; two roles that take turns have no such gap")
	if err := step("the application was healthy all the time", well.result); err != nil {
		return err
	}
	return step("the database takes the new password, and refuses the old one", func() (string, error) { return e.proved(ctx) })
}

// startFunction makes the function's identity and runs it.
func (e *expiring) startFunction(ctx context.Context, port int) (*api.Principal, error) {
	vault, err := e.everything.ShowVault(ctx, vaultName)
	if err != nil {
		return nil, err
	}
	identity, err := e.everything.CreatePrincipal(ctx, api.CreatePrincipal{Kind: api.ServicePrincipal, Name: "rotation-function"})
	if err != nil {
		return nil, err
	}
	secret, err := e.everything.AddCredential(ctx, identity.ID, api.AddCredential{Kind: "secret"})
	if err != nil {
		return nil, err
	}
	if _, err := e.everything.CreateGrant(ctx, api.CreateGrant{Role: functionRole, Principal: identity.ID, Scope: vault.ID}); err != nil {
		return nil, err
	}
	dir := filepath.Join(e.stage.dir, "one", "function")
	if err := errors.Join(os.MkdirAll(dir, 0o755), npm.Lay(e.sample, e.modules, dir, "function.js")); err != nil {
		return nil, err
	}
	cmd, err := e.names.command("node", "function.js")
	if err != nil {
		return nil, err
	}
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOST=127.0.0.1", fmt.Sprintf("PORT=%d", port), "KEY_VAULT_URL=" + e.keywright.env["KEYWRIGHT_VAULT_URL"],
		"NODE_EXTRA_CA_CERTS=" + e.keywright.env["NODE_EXTRA_CA_CERTS"], "AZURE_AUTHORITY_HOST=" + e.keywright.env["AZURE_AUTHORITY_HOST"],
		"AZURE_TENANT_ID=" + e.keywright.env["AZURE_TENANT_ID"], "AZURE_CLIENT_ID=" + identity.AppID, "AZURE_CLIENT_SECRET=" + string(*secret.Secret)}
	return identity, e.listenTo(ctx, cmd)
}

// listenTo starts the function and prints what it says, with the time.
func (e *expiring) listenTo(ctx context.Context, cmd *exec.Cmd) (err error) {
	cmd.Stdout = &e.said
	if e.verbose {
		cmd.Stderr = os.Stderr
	}
	if e.function, err = process.Start("the function", cmd); err != nil {
		return err
	}
	if err := e.function.Await(ctx, 30*time.Second, e.said.ready); err != nil {
		return errors.Join(err, e.function.Stop(syscall.SIGTERM, 5*time.Second))
	}
	return nil
}

func (e *expiring) subscribe(ctx context.Context, port int) (string, error) {
	endpoint := fmt.Sprintf("http://127.0.0.1:%d/rotate", port)
	s, err := e.everything.CreateEventSubscription(ctx, vaultName, "functions", api.CreateEventSubscription{Endpoint: api.Text(endpoint),
		Types: []string{"Microsoft.KeyVault.SecretNearExpiry"}, SubjectBegins: secretName})
	if err != nil {
		return "", err
	}
	if s.State != "Active" {
		return "", fmt.Errorf("the subscription is %s: %s", s.State, s.Detail)
	}
	return "it answered the handshake", nil
}

// expire lets the secret come near its expiry and follows the rotation that begins by itself.
func (e *expiring) expire(ctx context.Context, function *api.Principal) (*api.Rotation, error) {
	soon := time.Now().Add(expiresIn)
	if err := step("the secret expires in 20 days, and what the function stores waits for its proof", func() (string, error) {
		if _, err := e.vault.Update(ctx, secretName, client.Selector{}, client.UpdateSecret{Expires: &soon}); err != nil {
			return "", err
		}
		policy, err := json.Marshal(api.RotationPolicy{
			Strategy: "single", AcceptGap: true, Rotator: "postgres", Accounts: []string{"app"}, Format: api.ValueFormat{Kind: "url"},
			Target:       map[string]any{"endpoints": []string{fmt.Sprintf("127.0.0.1:%d", e.database.Port)}, "database": "app", "tls": map[string]string{"mode": "disable"}},
			BeforeExpiry: "30d", Function: &api.RotationFunction{Principal: function.ID, Within: "1m"},
		})
		if err != nil {
			return "", err
		}
		_, err = e.vault.SetRotationPolicy(ctx, secretName, policy)
		return "", err
	}); err != nil {
		return nil, err
	}
	id, err := e.begun(ctx)
	if err != nil {
		return nil, err
	}
	return e.follow(ctx, id, api.RunDone)
}

// begun waits for the run that nobody asked for.
func (e *expiring) begun(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		for r, err := range e.vault.Rotations(ctx, client.RotationFilter{Name: secretName, Kind: api.RotationRun}) {
			if err != nil {
				return "", err
			}
			return r.ID, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no rotation began before the expiry: %w", ctx.Err())
		case <-time.After(askEvery):
		}
	}
}

// waited makes sure that it was the expiry that began the run, and that what the function stored became current by its proof.
func (e *expiring) waited(ctx context.Context, run *api.Rotation) error {
	now, err := e.vault.Holders(ctx, secretName, "", 0)
	if err != nil {
		return err
	}
	if run.Cause != "expiry" || entered(run, "testing") == 0 || run.Pending == "" || now.Version != run.Pending {
		return fmt.Errorf("the run began for %s, tested %d times and stored %s, and %s is current", run.Cause, entered(run, "testing"), short(run.Pending), short(now.Version))
	}
	return nil
}

// proved shows by logins which password is in force, and that the application finds it by itself.
func (e *expiring) proved(ctx context.Context) (string, error) {
	if conn, err := pgx.Connect(ctx, e.dsn); err == nil {
		return "", errors.Join(errors.New("the database still takes the old password"), conn.Close(ctx))
	} else if !refused(err) {
		return "", fmt.Errorf("trying the old password: %w", err)
	}
	// Its sessions outlive the change, so only a new one shows that the application has the new password.
	if err := e.database.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'"); err != nil {
		return "", err
	}
	err := e.app.process.Await(ctx, 20*time.Second, func() bool {
		_, answer, err := get(ctx, e.app.address)
		return err == nil && answer == "healthy"
	})
	return "the application, whose sessions were cut, signed in by itself and is healthy", err
}

// vigil asks an application for its health over and over.
type vigil struct {
	running sync.WaitGroup
	asked   int
	failed  error
}

func (v *vigil) watch(ctx context.Context, a *app) {
	repeat(ctx, askEvery, func(ctx context.Context) {
		status, answer, err := get(ctx, a.address)
		if ctx.Err() != nil {
			return
		}
		v.asked++
		if (err != nil || answer != "healthy") && v.failed == nil {
			v.failed = fmt.Errorf("at %s it answered %d %q (%w)", clockTime(time.Now()), status, answer, err)
		}
	})
}

// result is read when the watch has ended.
func (v *vigil) result() (string, error) {
	if v.asked == 0 && v.failed == nil {
		return "", errors.New("it was never asked")
	}
	return fmt.Sprintf("asked %d times", v.asked), v.failed
}

// told remembers each line that a program says, with its time, but for the first, which says that it is ready.
type told struct {
	mu    sync.Mutex
	rest  []byte
	up    bool
	lines []line
}

// Write implements io.Writer.
func (t *told) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rest = append(t.rest, p...)
	for {
		said, rest, whole := bytes.Cut(t.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		if t.up {
			t.lines = append(t.lines, line{time.Now(), "function: " + string(said)})
		}
		t.up, t.rest = true, rest
	}
}

func (t *told) all() []line {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines)
}

func (t *told) ready() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.up
}
