package feed_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/feed"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// world is an installation with secrets and a feed.
type world struct {
	*guardtest.World
	svc   *secret.Service
	feed  *feed.Feed
	admin *guard.Caller
}

func newWorld(t testing.TB, o guardtest.Options) *world {
	t.Helper()
	w := &world{World: guardtest.New(t, o)}
	var err error
	w.svc, err = secret.New(secret.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock})
	w.do(err)
	w.Watch(w.svc.Changed)
	w.feed = w.newFeed(nil)
	w.admin = w.Caller(authz.VaultAdministrator)
	return w
}

// newFeed makes a feed as a server does that has just started.
func (w *world) newFeed(edit func(*feed.Config)) *feed.Feed {
	c := feed.Config{Guard: w.Guard, Store: w.Store, Secrets: w.svc, Clock: w.Clock}
	if edit != nil {
		edit(&c)
	}
	f, err := feed.New(c)
	w.do(err)
	w.Watch(f.Changed)
	ctx, cancel := context.WithCancel(w.Ctx)
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	w.T.Cleanup(func() { cancel(); <-done })
	return f
}

func (w *world) do(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

func (w *world) set(name, value string) vault.VersionID {
	w.T.Helper()
	item, err := w.svc.Set(w.Ctx, w.Call(w.admin), name, secret.Input{Value: []byte(value), Enabled: true})
	w.do(err)
	return item.Version.ID
}

func (w *world) open(c *guard.Caller, q feed.Query) *feed.Stream {
	w.T.Helper()
	s, err := w.feed.Open(w.Ctx, w.Call(c), q)
	w.do(err)
	w.T.Cleanup(s.Close)
	return s
}

// next expects a batch of the kind. It is quick when something happened, and Idle after a moment.
func (w *world) next(s *feed.Stream, kind feed.Kind) feed.Batch {
	w.T.Helper()
	idle := 10 * time.Second
	if kind == feed.Idle {
		idle = 20 * time.Millisecond
	}
	b, err := s.Next(w.Ctx, idle)
	if err != nil || b.Kind != kind {
		w.T.Fatalf("the stream tells %+v, %v; want kind %d", b, err, kind)
	}
	return b
}

// told is a batch in short.
func told(b feed.Batch) string {
	var list []string
	for _, c := range b.Changes {
		what := string(c.Version)
		if c.Deleted {
			what = "deleted"
		}
		list = append(list, c.Name+" "+what)
	}
	return strings.Join(list, ", ")
}

func (w *world) tells(s *feed.Stream, want ...string) feed.Batch {
	w.T.Helper()
	b := w.next(s, feed.Changes)
	if got := told(b); got != strings.Join(want, ", ") {
		w.T.Fatalf("the stream tells %q, want %q", got, want)
	}
	return b
}

func TestAStreamTellsWhatHappens(t *testing.T) {
	w := newWorld(t, guardtest.Options{})
	w.set("Before", "0")
	s := w.open(w.admin, feed.Query{})
	begin := w.next(s, feed.Ready).Place
	w.next(s, feed.Idle)
	v := w.set("Db", "1")
	b := w.tells(s, "Db "+string(v))
	if c := b.Changes[0]; c.Kind != vault.Secret || c.At.IsZero() || c.Place == begin {
		t.Errorf("the change is %+v", c)
	}
	_, err := w.svc.Delete(w.Ctx, w.Call(w.admin), "db")
	w.do(err)
	w.tells(s, "Db deleted")
	w.do(w.svc.Purge(w.Ctx, w.Call(w.admin), "db"))
	w.tells(s, "db deleted")
	w.next(s, feed.Idle)

	again := w.open(w.admin, feed.Query{After: begin.String()})
	if b := w.next(again, feed.Ready); b.Place != begin {
		t.Errorf("the stream resumes at %s, not at %s", b.Place, begin)
	}
	w.tells(again, "db deleted")
	w.next(again, feed.Idle)
}

// TestResumingBehindAnEventMissesNothing changes several secrets in one commit.
func TestResumingBehindAnEventMissesNothing(t *testing.T) {
	w := newWorld(t, guardtest.Options{})
	for _, n := range []string{"a", "b", "c"} {
		w.set(n, n)
	}
	s := w.open(w.admin, feed.Query{})
	w.next(s, feed.Ready)
	w.set("a", "2")
	w.Change(func(tx store.Tx) error { // b and c at once
		for _, n := range []string{"b", "c"} {
			o, err := tx.Object(w.Ctx, w.Vault.ID, vault.Secret, n)
			if err := errors.Join(err, tx.PutObject(w.Ctx, o.With("mine", o.Current))); err != nil {
				return err
			}
		}
		return nil
	})
	var all []feed.Change
	for len(all) < 3 {
		all = append(all, w.next(s, feed.Changes).Changes...)
	}
	for i, c := range all {
		rest := w.open(w.admin, feed.Query{After: c.Place.String()})
		w.next(rest, feed.Ready)
		var names []string
		for i < 2 && !slices.Contains(names, "c") {
			for _, c := range w.next(rest, feed.Changes).Changes {
				names = append(names, c.Name)
			}
		}
		for _, later := range all[i+1:] {
			if !slices.Contains(names, later.Name) {
				t.Errorf("behind %q the stream tells %q: %q is missed", c.Name, names, later.Name)
			}
		}
		if i == 2 {
			w.next(rest, feed.Idle)
		}
	}
}

func TestNothingIsMissedAcrossARestart(t *testing.T) {
	w := newWorld(t, guardtest.Options{})
	s := w.open(w.admin, feed.Query{})
	place := w.next(s, feed.Ready).Place
	v := w.set("db", "1")
	w.feed.End()
	if b := w.next(s, feed.End); b.Reason != feed.Shutdown {
		t.Errorf("the stream ends for %q", b.Reason)
	}
	if _, err := w.feed.Open(w.Ctx, w.Call(w.admin), feed.Query{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a feed that has ended opens a stream: %v", err)
	}
	w.feed = w.newFeed(nil)
	s = w.open(w.admin, feed.Query{After: place.String()})
	w.next(s, feed.Ready)
	w.tells(s, "db "+string(v))
}

// TestALateReaderReadsTheJournal lets more happen than is kept in memory while nobody reads.
func TestALateReaderReadsTheJournal(t *testing.T) {
	w := newWorld(t, guardtest.Options{})
	w.feed = w.newFeed(func(c *feed.Config) { c.Kept = 4 })
	s := w.open(w.admin, feed.Query{})
	w.next(s, feed.Ready)
	first, second := w.set("first", "1"), vault.VersionID("")
	for n := range 30 {
		if n == 15 {
			second = w.set("second", "2")
		}
		w.Change(func(tx store.Tx) error { return tx.PutSetting(w.Ctx, "other", []byte{byte(n)}) })
	}
	w.tells(s, "first "+string(first))
	w.tells(s, "second "+string(second))
	third := w.set("third", "3")
	w.tells(s, "third "+string(third))
	w.next(s, feed.Idle)
}

func TestWhatCannotBeResumedIsReset(t *testing.T) {
	w := newWorld(t, guardtest.Options{})
	s := w.open(w.admin, feed.Query{})
	old := w.next(s, feed.Ready).Place
	w.set("db", "1")
	other := old
	other.Op = store.OpID(strings.Repeat("ab", 16))
	ahead := old
	ahead.Position += 1000
	for name, after := range map[string]string{"of another store": other.String(), "that is yet to come": ahead.String(), "of nonsense": "nonsense", "cut off": old.String()[:9]} {
		r := w.open(w.admin, feed.Query{After: after})
		w.next(r, feed.Reset)
		w.next(r, feed.Idle)
		v := w.set("db", name)
		w.tells(r, "db "+string(v))
	}
	// The entry is pruned, and a server that has started since does not remember it.
	w.Change(func(tx store.Tx) error {
		_, err := tx.PruneJournal(w.Ctx, old.Position, w.Clock.Now().Add(time.Hour), 0)
		return err
	})
	w.feed = w.newFeed(nil)
	r := w.open(w.admin, feed.Query{After: old.String()})
	if b := w.next(r, feed.Reset); b.Place.Position <= old.Position {
		t.Errorf("the stream goes on at %s", b.Place)
	}
	if n := w.feed.Stats().Resets; n != 1 {
		t.Errorf("%d resets were counted, want 1", n)
	}
}

func TestNobodyIsToldWhatIsNotForHim(t *testing.T) {
	w := newWorld(t, guardtest.Options{})
	w.set("mine", "1")
	w.set("other", "1")
	is := func(err error, kind fault.Kind) {
		t.Helper()
		if !fault.Is(err, kind) {
			t.Errorf("got %v, want %v", err, kind)
		}
	}
	nobody := w.Caller()
	for _, q := range []feed.Query{{}, {Names: []string{"mine"}}, {Names: []string{"absent"}}} {
		_, err := w.feed.Open(w.Ctx, w.Call(nobody), q)
		is(err, fault.Forbidden)
	}
	if list := w.Audit.Take(); len(list) != 3 || list[0].Outcome != "denied" || list[1].Name != "mine" {
		t.Errorf("refusals are recorded as %+v", list)
	}
	one := w.Caller()
	grant := w.Grant(one, authz.SecretsUser, func(g *principal.Grant) { g.Scope += "/secrets/mine" })
	_, err := w.feed.Open(w.Ctx, w.Call(one), feed.Query{})
	is(err, fault.Forbidden)
	w.Audit.Take()
	s := w.open(one, feed.Query{Names: []string{"other", "Mine"}})
	w.next(s, feed.Ready)
	if list := w.Audit.Take(); len(list) != 1 || list[0].Outcome != "allowed" || list[0].Name != "Mine" {
		t.Errorf("the opening is recorded as %+v", list)
	}
	w.set("other", "2")
	w.set("third", "2")
	v := w.set("mine", "2")
	w.tells(s, "mine "+string(v))
	w.next(s, feed.Idle)
	if list := w.Audit.Take(); len(list) != 0 {
		t.Errorf("telling leaves the records %+v", list)
	}
	w.Change(func(tx store.Tx) error { return tx.DeleteGrant(w.Ctx, grant.Tenant, grant.ID) })
	w.set("mine", "3")
	if b := w.next(s, feed.End); b.Reason != feed.Forbidden {
		t.Errorf("the stream ends for %q", b.Reason)
	}
	for name, q := range map[string]feed.Query{"a name": {Names: []string{"no such/name"}}, "names": {Names: make([]string, feed.MaxNames+1)}} {
		if _, err := w.feed.Open(w.Ctx, w.Call(w.admin), q); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryLossOfRightsEndsAStream does not wait for something to tell.
func TestEveryLossOfRightsEndsAStream(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		lose   func(w *world, c *guard.Caller)
	}{
		"the token is withdrawn": {feed.Expired, func(w *world, c *guard.Caller) {
			c.Revoke()
			w.Change(func(tx store.Tx) error {
				return tx.PutPrincipal(w.Ctx, &principal.Principal{ID: c.Principal, Tenant: c.Tenant, Kind: principal.Service, Name: "x", AppID: c.AppID})
			})
		}},
		"the address is kept out": {feed.Forbidden, func(w *world, _ *guard.Caller) {
			w.EditVault(func(v *vault.Vault) {
				v.Network.DefaultAllow = false
				v.Network.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			})
		}},
		"the vault is deleted": {feed.Forbidden, func(w *world, _ *guard.Caller) {
			w.EditVault(func(v *vault.Vault) {
				v.Deleted = &vault.Deletion{At: w.Clock.Now(), PurgeAt: w.Clock.Now().Add(time.Hour)}
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, guardtest.Options{})
			caller := w.Caller(authz.SecretsUser)
			s := w.open(caller, feed.Query{})
			w.next(s, feed.Ready)
			w.next(s, feed.Idle)
			c.lose(w, caller)
			if b := w.next(s, feed.End); b.Reason != c.reason {
				t.Errorf("the stream ends for %q, want %q", b.Reason, c.reason)
			}
		})
	}
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	now := clock.NewManual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	w := newWorld(t, guardtest.Options{Clock: now})
	c := w.Caller(authz.SecretsUser)
	c.Expires = now.Now().Add(30 * time.Millisecond)
	s := w.open(c, feed.Query{})
	w.next(s, feed.Ready)
	now.Advance(time.Second)
	if b := w.next(s, feed.End); b.Reason != feed.Expired {
		t.Errorf("the stream ends for %q", b.Reason)
	}
	wait := time.Minute
	s = w.open(w.admin, feed.Query{Wait: &wait})
	w.next(s, feed.Ready)
	w.next(s, feed.Idle)
	now.Advance(time.Minute)
	if b := w.next(s, feed.End); b.Reason != feed.Over {
		t.Errorf("the stream ends for %q", b.Reason)
	}
}

// TestEveryCallerIsToldItsOwnVersion opens a rollout to one of two.
func TestEveryCallerIsToldItsOwnVersion(t *testing.T) {
	w := newWorld(t, guardtest.Options{})
	first := w.set("db", "one")
	canary, other := w.Caller(authz.SecretsUser), w.Caller(authz.SecretsUser)
	streams := map[*guard.Caller]*feed.Stream{canary: w.open(canary, feed.Query{}), other: w.open(other, feed.Query{})}
	for _, s := range streams {
		w.next(s, feed.Ready)
	}
	o, _, err := w.svc.Get(w.Ctx, w.Call(w.admin), secret.Selector{Name: "db"}, nil)
	w.do(err)
	r := w.svc.Rotation(w.Vault, "db", o.Object.ID)
	var second vault.VersionID
	op := store.NewOp(w.Clock.Now())
	w.do(w.Store.Update(w.Ctx, op, func(tx store.Tx) error {
		ver, err := r.Seal(w.Ctx, op, secret.Input{Value: []byte("two"), Enabled: true})
		if err != nil {
			return err
		}
		second = ver.ID
		return r.Pend(w.Ctx, tx, ver)
	}))
	for _, s := range streams {
		w.tells(s, "db "+string(first)) // nobody hears of a version that is only pending
	}
	open, err := rollout.New(second, first, []rollout.Ring{{Name: "canary", Principals: []principal.ID{canary.Principal}}}, rollout.ReturnRules{})
	w.do(err)
	open.State, open.Opened = rollout.Open, 1
	w.Change(func(tx store.Tx) error { return r.Offer(w.Ctx, tx, &open) })
	w.tells(streams[canary], "db "+string(second))
	w.tells(streams[other], "db "+string(first))
	w.Change(func(tx store.Tx) error { return r.Offer(w.Ctx, tx, nil) })
	w.tells(streams[canary], "db "+string(first))
}

func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t, guardtest.Options{})
	w.feed = w.newFeed(func(c *feed.Config) { c.MaxStreams = 2 })
	one := w.open(w.admin, feed.Query{})
	w.open(w.admin, feed.Query{})
	if _, err := w.feed.Open(w.Ctx, w.Call(w.admin), feed.Query{}); !fault.Is(err, fault.Throttled) {
		t.Errorf("a third stream: %v", err)
	}
	if n := w.feed.Stats().Open; n != 2 {
		t.Errorf("%d streams are open", n)
	}
	one.Close()
	one.Close()
	w.open(w.admin, feed.Query{})
}

// TestNobodyWaitsForStreams writes while thousands of streams do not read.
func TestNobodyWaitsForStreams(t *testing.T) {
	w := newWorld(t, guardtest.Options{})
	for range 2000 {
		w.open(w.admin, feed.Query{})
	}
	var slowest time.Duration
	entry := &store.Commit{Op: store.NewOp(w.Clock.Now()), Changes: []store.Change{{Kind: store.ObjectChanged, Vault: w.Vault.ID, Object: vault.Secret, NameKey: "x"},
		{Kind: store.GrantChanged, Tenant: w.Vault.Tenant, Key: "/"}}}
	f := w.newFeed(nil)
	for n := range 1000 {
		entry.Position = store.Position(1000 + n)
		began := time.Now()
		f.Changed(entry)
		slowest = max(slowest, time.Since(began))
	}
	if slowest > 20*time.Second {
		t.Errorf("the watcher took %s", slowest)
	}
}

// TestEveryoneHasTheLatestInTheEnd lets changes, pauses and new connections come in any order, and compares what a reader knows in the end
// with what there is.
func TestEveryoneHasTheLatestInTheEnd(t *testing.T) {
	w := newWorld(t, guardtest.Options{})
	rapid.Check(t, func(rt *rapid.T) {
		known, is := map[string]string{}, map[string]string{}
		var s *feed.Stream
		var place feed.Place
		connect := func(resume bool) {
			q := feed.Query{}
			if resume {
				q.After = place.String()
			}
			s = w.open(w.admin, q)
			place = w.next(s, feed.Ready).Place
		}
		read := func() {
			for {
				b, err := s.Next(w.Ctx, time.Millisecond)
				if err != nil || b.Kind == feed.Idle {
					return
				}
				for _, c := range b.Changes {
					known[c.Name], place = string(c.Version), c.Place
					if rapid.IntRange(0, 3).Draw(rt, "drop") == 0 { // the connection breaks behind this event
						s.Close()
						connect(true)
						break
					}
				}
			}
		}
		connect(false)
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			name := fmt.Sprint("s", rapid.IntRange(0, 3).Draw(rt, "name"))
			is[name] = string(w.set(name, "x"))
			if rapid.Bool().Draw(rt, "read") {
				read()
			}
		}
		read()
		for name, version := range is {
			if known[name] != version {
				rt.Fatalf("the reader knows %q of %s, and it is %q", known[name], name, version)
			}
		}
		s.Close()
	})
}

func FuzzPlace(f *testing.F) {
	f.Add("12-0123456789abcdef0123456789abcdef")
	f.Add("0-")
	f.Fuzz(func(t *testing.T, text string) {
		if p, ok := feed.ParsePlace(text); ok && p.String() != text {
			t.Errorf("%q is read as %q", text, p)
		} else if !ok && p != (feed.Place{}) {
			t.Errorf("%q is no place and gives %v", text, p)
		}
	})
}

// A node that was away while the journal was pruned is shown a flush in place of what it missed: its streams must not go on as if nothing had been between.
func TestMissedCommitsResetStreams(t *testing.T) {
	w := newWorld(t, guardtest.Options{})
	s := w.open(w.admin, feed.Query{})
	w.set("a", "1")
	if b, err := s.Next(w.Ctx, time.Second); err != nil || b.Kind != feed.Ready {
		t.Fatalf("the first batch is %+v, %v", b, err)
	}
	if b, err := s.Next(w.Ctx, 5*time.Second); err != nil || b.Kind != feed.Changes {
		t.Fatalf("the change is %+v, %v", b, err)
	}
	var head store.Position
	w.do(w.Store.Update(w.Ctx, store.NewOp(w.Clock.Now()), func(tx store.Tx) (err error) {
		if head, err = tx.Head(w.Ctx); err != nil {
			return err
		}
		_, err = tx.PruneJournal(w.Ctx, head, w.Clock.Now().Add(time.Hour), 0)
		return err
	}))
	w.feed.Changed(&store.Commit{Position: head + 7, Flush: true})
	if b, err := s.Next(w.Ctx, 5*time.Second); err != nil || b.Kind != feed.Reset || b.Place.Position != head+7 {
		t.Errorf("after the flush the stream says %+v, %v; want a reset at %d", b, err, head+7)
	}
}
