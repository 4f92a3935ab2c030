package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/postgres"
)

// commitMessage is a COMMIT as it is sent, a string between zeros; other statements have the word, too.
var commitMessage = []byte("\x00COMMIT\x00")

// once reports the first message with a COMMIT, and no other.
func once() func([]byte) bool {
	var done atomic.Bool
	return func(sent []byte) bool { return bytes.Contains(sent, commitMessage) && !done.Swap(true) }
}

// journal returns the operations in the journal.
func journal(t *testing.T, s *postgres.Store) (ops []store.OpID) {
	t.Helper()
	if err := s.View(t.Context(), func(tx store.Tx) error {
		list, err := tx.Commits(t.Context(), 0, 0)
		for _, c := range list {
			ops = append(ops, c.Op.ID)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return ops
}

// A COMMIT whose answer is lost is found out before anybody is answered: the update happened, once, and is acknowledged.
func TestLostAnswerIsResolved(t *testing.T) {
	cfg := place(t)
	p := newProxy(t, cfg)
	s, seen := node(t, p.config(cfg))
	p.onSend(once())
	op := put(t, s, "a")
	if ops := journal(t, s); len(ops) != 1 || ops[0] != op.ID {
		t.Errorf("the journal has %v, want %s alone", ops, op.ID)
	}
	if list := seen.list(); len(list) != 1 || list[0].Op != op {
		t.Errorf("the watcher saw %d commits before the answer, want the one", len(list))
	}
}

// A COMMIT that did not arrive is found out too, and the group runs again.
func TestLostCommitIsRepeated(t *testing.T) {
	cfg := place(t)
	p := newProxy(t, cfg)
	s, _ := node(t, p.config(cfg))
	lose := once()
	p.onSend(func(sent []byte) bool {
		if !lose(sent) {
			return false
		}
		// What goes on to the server is no COMMIT any more.
		copy(sent[bytes.Index(sent, commitMessage)+1:], "SYNTAX")
		return true
	})
	runs := 0
	if err := s.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error {
		runs++
		return tx.PutSetting(t.Context(), "a", nil)
	}); err != nil || runs != 2 {
		t.Errorf("Update = %v after %d runs, want nil after 2", err, runs)
	}
	if ops := journal(t, s); len(ops) != 1 {
		t.Errorf("the journal has %v, want one operation", ops)
	}
}

// While the outcome cannot be found out the answer is Unavailable; afterwards Committed tells, here and at every other node, and the watchers see the commit.
func TestUnresolvedAnswer(t *testing.T) {
	cfg := place(t)
	p := newProxy(t, cfg)
	s, seen := node(t, p.config(cfg))
	other, _ := node(t, cfg)
	commit := once()
	p.onSend(func(sent []byte) bool {
		if commit(sent) {
			p.away = true
			return true
		}
		return false
	})
	op := store.NewOp(time.Now())
	err := s.Update(t.Context(), op, func(tx store.Tx) error { return tx.PutSetting(t.Context(), "a", nil) })
	if !fault.Is(err, fault.Unavailable) {
		t.Fatalf("Update = %v, want Unavailable", err)
	}
	if _, err := s.Committed(t.Context(), op.ID); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Committed without a database = %v, want Unavailable", err)
	}
	if err := s.Health(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Health without a database = %v, want Unavailable", err)
	}
	if done, err := other.Committed(t.Context(), op.ID); !done || err != nil {
		t.Errorf("Committed at another node = %v, %v; want true", done, err)
	}
	p.mend()
	if done, err := s.Committed(t.Context(), op.ID); !done || err != nil {
		t.Errorf("Committed = %v, %v; want true", done, err)
	}
	if err := s.Update(t.Context(), op, func(tx store.Tx) error { return tx.PutSetting(t.Context(), "a", nil) }); err != store.ErrCommitted {
		t.Errorf("the same Update again = %v, want ErrCommitted", err)
	}
	seen.await(t, 1)
	if list := seen.list(); len(list) != 1 || list[0].Op != op {
		t.Errorf("the watcher saw %d commits, want the one", len(list))
	}
	if err := s.Health(t.Context()); err != nil {
		t.Errorf("Health = %v when the database is back", err)
	}
}

// Connections that the server closed meanwhile are replaced before anybody notices.
func TestIdleConnectionsMayBeClosed(t *testing.T) {
	cfg := place(t)
	s, _ := node(t, cfg)
	put(t, s, "a")
	db, err := server()
	if err != nil {
		t.Fatal(err)
	}
	// Of this schema alone: other tests have their own.
	if err := db.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keywright' AND query NOT LIKE '%nobody%' AND pid <> pg_backend_pid()"); err != nil {
		t.Fatal(err)
	}
	if p := head(t, s); p != 1 {
		t.Errorf("the journal ends at %d, want 1", p)
	}
	put(t, s, "b")
}

// The network is cut again and again while several nodes write: what was acknowledged is stored, what was refused for good is not, and everything in doubt is told by
// Committed. Every node shows each commit once and in order.
func TestCutsUnderLoad(t *testing.T) {
	cfg := place(t)
	const nodes, workers, rounds = 2, 3, 12
	var group, cuts errgroup.Group
	var mu sync.Mutex
	want := make(map[store.OpID]bool)
	stop := make(chan struct{})
	var stores []*postgres.Store
	var records []*record
	var proxies []*proxy
	for range nodes {
		p := newProxy(t, cfg)
		s, seen := node(t, p.config(cfg))
		stores, records, proxies = append(stores, s), append(records, seen), append(proxies, p)
	}
	for n, s := range stores {
		p := proxies[n]
		random := rand.New(rand.NewPCG(uint64(n), 7))
		p.onSend(func(sent []byte) bool { return random.IntN(30) == 0 }) // the proxy calls it one at a time
		cuts.Go(func() error {
			for {
				select {
				case <-stop:
					p.onSend(nil)
					return nil
				case <-time.After(150 * time.Millisecond):
					p.cut()
					p.mend()
				}
			}
		})
		for w := range workers {
			group.Go(func() error {
				for i := range rounds {
					op := store.NewOp(time.Now())
					name := fmt.Sprintf("%d-%d-%d", n, w, i)
					err := s.Update(context.Background(), op, func(tx store.Tx) error { return tx.PutSetting(context.Background(), name, nil) })
					done := err == nil
					if err != nil && !fault.Is(err, fault.Unavailable) {
						return err
					}
					for !done {
						found, err := s.Committed(context.Background(), op.ID)
						if err == nil {
							done = found
							break
						}
					}
					mu.Lock()
					want[op.ID] = done
					mu.Unlock()
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	close(stop)
	cuts.Wait()
	stored := journal(t, reopened(t, cfg))
	found := make(map[store.OpID]bool)
	for _, op := range stored {
		found[op] = true
	}
	for op, done := range want {
		if found[op] != done {
			t.Errorf("operation %s: stored %v, answered %v", op, found[op], done)
		}
	}
	for i := range stores {
		records[i].await(t, store.Position(len(stored)))
		var shown []store.OpID
		for _, c := range records[i].list() {
			shown = append(shown, c.Op.ID)
		}
		if fmt.Sprint(shown) != fmt.Sprint(stored) {
			t.Errorf("node %d showed %d commits, the journal has %d, or in another order", i, len(shown), len(stored))
		}
	}
}

func reopened(t *testing.T, cfg postgres.Config) *postgres.Store {
	s, _ := node(t, cfg)
	return s
}

// Who cancels the wait for a synchronous standby makes the server answer a COMMIT that the standby does not have. It is not acknowledged before a standby has it.
func TestCancelledWaitForAStandby(t *testing.T) {
	t.Parallel()
	db := pgtest.Run(t)
	s, _ := node(t, postgres.Config{DSN: db.AdminDSN()})
	put(t, s, "a")
	standbys := func(names string) {
		t.Helper()
		if err := db.Exec(t.Context(), "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'", "SELECT pg_reload_conf()"); err != nil {
			t.Fatal(err)
		}
	}
	waits := func(cancel bool) {
		t.Helper()
		// The statement fails until somebody waits.
		query := "SELECT 1 / count(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
		if cancel {
			query = "SELECT 1 / count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
		}
		for began := time.Now(); db.Exec(t.Context(), query) != nil; time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				t.Fatal("no commit waits for a standby")
			}
		}
	}
	standbys("missing")
	time.Sleep(100 * time.Millisecond) // the servers of the connections read their configuration between two statements
	answered := make(chan error, 1)
	op := store.NewOp(time.Now())
	go func() {
		answered <- s.Update(context.Background(), op, func(tx store.Tx) error { return tx.PutSetting(context.Background(), "b", nil) })
	}()
	waits(true)
	waits(false) // the commit by which the first one is looked up
	select {
	case err := <-answered:
		t.Fatalf("Update = %v although no standby has it", err)
	default:
	}
	standbys("")
	if err := <-answered; err != nil {
		t.Errorf("Update = %v when the commit is as durable as it can be", err)
	}
	if ops := journal(t, s); len(ops) != 2 || ops[1] != op.ID {
		t.Errorf("the journal has %v, want two operations", ops)
	}
}

// Why there is no connection is told, with what to do about it.
func TestRefusalsAreTold(t *testing.T) {
	cfg := place(t)
	db, err := server()
	if err != nil {
		t.Fatal(err)
	}
	const readOnly = "?default_transaction_read_only=on"
	for dsn, want := range map[string]string{
		db.DSN(pgtest.Superuser, "wrong", "postgres"):                "refuses the login: check the account",
		db.DSN(pgtest.Superuser, db.Password, "nowhere"):             "is not there: make it",
		db.DSN(pgtest.Superuser, db.Password, "postgres") + readOnly: "takes no writes: it is a standby",
		"postgres://u@127.0.0.1:1/db":                                "cannot be reached: check that it runs",
	} {
		broken := cfg
		broken.DSN, broken.PasswordFile = dsn, ""
		if _, err := postgres.Open(t.Context(), broken); !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.As(err).Message, want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Neither the connection string nor the password gets into an error or the log.
func TestPasswordsStayIn(t *testing.T) {
	cfg := place(t)
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	const canary = "canary-password"
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := server()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*postgres.Config){
		"a wrong password":      func(c *postgres.Config) { c.DSN = db.DSN(pgtest.Superuser, canary, "postgres") },
		"a wrong password file": func(c *postgres.Config) { c.PasswordFile = file },
		"no host":               func(c *postgres.Config) { c.DSN = "postgres://u:" + canary + "@127.0.0.1:1/db" },
		"not a string":          func(c *postgres.Config) { c.DSN = "postgres://u:" + canary + "@[host/db?sslmode=perhaps" },
		"an unknown word":       func(c *postgres.Config) { c.DSN = "password=" + canary + " sslmode=perhaps" },
	} {
		broken := cfg
		change(&broken)
		_, err := postgres.Open(t.Context(), broken)
		if err == nil {
			t.Errorf("%s: opened", name)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
	// The right password in a file, wherever the string has another.
	good := cfg
	good.DSN, good.PasswordFile = db.DSN(pgtest.Superuser, canary, "postgres"), file
	if err := os.WriteFile(file, []byte(db.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := reopened(t, good).Health(t.Context()); err != nil {
		t.Error(err)
	}
	if text := log.String(); strings.Contains(text, canary) || strings.Contains(text, db.Password) {
		t.Errorf("the log tells a password:\n%s", text)
	}
}
