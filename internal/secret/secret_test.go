package secret_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// world is an installation with the secret service and a caller who may do everything with secrets.
type world struct {
	*guardtest.World
	svc   *secret.Service
	admin *guard.Caller
}

func newWorld(t testing.TB, o guardtest.Options, edit func(*secret.Config)) *world {
	t.Helper()
	w := &world{World: guardtest.New(t, o)}
	w.svc = newService(t, w, edit)
	w.admin = w.Caller(authz.VaultAdministrator)
	return w
}

// newService makes another service over the world's store.
func newService(t testing.TB, w *world, edit func(*secret.Config)) *secret.Service {
	t.Helper()
	c := secret.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock}
	if edit != nil {
		edit(&c)
	}
	svc, err := secret.New(c)
	if err != nil {
		t.Fatal(err)
	}
	w.Watch(svc.Changed)
	return svc
}

func (w *world) call() *guard.Call { w.T.Helper(); return w.Call(w.admin) }

func (w *world) set(name, value string) secret.Item {
	w.T.Helper()
	item, err := w.svc.Set(w.Ctx, w.call(), name, secret.Input{Value: []byte(value), Enabled: true})
	if err != nil {
		w.T.Fatal(err)
	}
	return item
}

func (w *world) get(sel secret.Selector) (secret.Item, string, error) {
	item, value, err := w.svc.Get(w.Ctx, w.call(), sel, nil)
	return item, string(value), err
}

// reads expects a value under the selector, twice: from the store and from the cache.
func (w *world) reads(sel secret.Selector, want string) {
	w.T.Helper()
	for range 2 {
		if _, got, err := w.get(sel); err != nil || got != want {
			w.T.Errorf("%+v is %q, %v; want %q", sel, got, err, want)
		}
	}
}

func (w *world) fails(err error, kind fault.Kind, reason fault.Reason) {
	w.T.Helper()
	if !fault.Is(err, kind) || fault.As(err).Reason != reason {
		w.T.Errorf("got %v (%v); want %v with reason %q", err, fault.Of(err), kind, reason)
	}
}

func named(name string) secret.Selector { return secret.Selector{Name: name} }

func (w *world) do(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

func TestLifeOfASecret(t *testing.T) {
	now := clock.NewManual(time.Date(2026, 11, 22, 12, 0, 0, 5, time.UTC))
	w := newWorld(t, guardtest.Options{Clock: now}, nil)
	first := w.set("Db-Password", "one")
	w.reads(named("db-password"), "one")
	now.Advance(time.Second)
	nbf, exp := now.Now().UTC().Truncate(time.Second), now.Now().UTC().Truncate(time.Second).Add(time.Hour)
	second, err := w.svc.Set(w.Ctx, w.call(), "DB-PASSWORD", secret.Input{Value: []byte("two"), ContentType: "text/plain", Tags: map[string]string{"a": "b"},
		Enabled: true, NotBefore: nbf, Expires: exp})
	w.do(err)
	if second.Object.Name != "Db-Password" || second.Object.ID != first.Object.ID || second.Version.Previous != first.Version.ID ||
		second.Object.LabelOf(vault.Previous) != first.Version.ID {
		t.Errorf("the second version: %+v %+v", second.Object, second.Version)
	}
	w.reads(named("db-password"), "two")
	w.reads(secret.Selector{Name: "db-password", Version: first.Version.ID}, "one")
	w.reads(secret.Selector{Name: "db-password", Version: second.Version.ID}, "two")
	w.reads(secret.Selector{Name: "db-password", Label: vault.Previous}, "one")
	w.reads(secret.Selector{Name: "db-password", Label: vault.Current}, "two")

	// Update changes what is named, and no more.
	now.Advance(time.Second)
	contentType := "application/json"
	item, err := w.svc.Update(w.Ctx, w.call(), named("db-password"), secret.Change{ContentType: &contentType})
	w.do(err)
	want := *second.Version
	want.ContentType, want.Attributes.Updated = contentType, clock.Micro(now.Now())
	if diff := cmp.Diff(&want, item.Version); diff != "" {
		t.Errorf("after the update:\n%s", diff)
	}
	off := false
	_, err = w.svc.Update(w.Ctx, w.call(), named("db-password"), secret.Change{Enabled: &off, Tags: map[string]string{}})
	w.do(err)
	_, _, err = w.get(named("db-password"))
	w.fails(err, fault.Forbidden, "SecretDisabled")
	w.reads(secret.Selector{Name: "db-password", Version: first.Version.ID}, "one")
	on := true
	item, err = w.svc.Update(w.Ctx, w.call(), named("db-password"), secret.Change{Enabled: &on})
	w.do(err)
	if len(item.Version.Tags) > 0 {
		t.Errorf("an empty map of tags left %v", item.Version.Tags)
	}
	earlier := nbf.Add(-time.Hour)
	_, err = w.svc.Update(w.Ctx, w.call(), named("db-password"), secret.Change{Expires: &earlier})
	w.fails(err, fault.Invalid, "")

	// Deleted, it is there for its own operations alone.
	gone, err := w.svc.Delete(w.Ctx, w.call(), "db-password")
	w.do(err)
	if d := gone.Object.Deleted; d == nil || d.PurgeAt.Sub(d.At) != 90*24*time.Hour || gone.Version.ID != second.Version.ID {
		t.Errorf("deleted: %+v", gone.Object)
	}
	_, _, err = w.get(named("db-password"))
	w.fails(err, fault.NotFound, "SecretNotFound")
	_, _, err = w.get(secret.Selector{Name: "db-password", Version: first.Version.ID})
	w.fails(err, fault.NotFound, "SecretNotFound")
	_, err = w.svc.Set(w.Ctx, w.call(), "db-password", secret.Input{})
	w.fails(err, fault.Conflict, "ObjectIsDeletedButRecoverable")
	_, err = w.svc.Update(w.Ctx, w.call(), named("db-password"), secret.Change{})
	w.fails(err, fault.NotFound, "SecretNotFound")
	_, err = w.svc.Delete(w.Ctx, w.call(), "db-password")
	w.fails(err, fault.NotFound, "SecretNotFound")
	_, err = w.svc.Backup(w.Ctx, w.call(), "db-password")
	w.fails(err, fault.NotFound, "SecretNotFound")
	found, err := w.svc.GetDeleted(w.Ctx, w.call(), "db-password")
	if diff := cmp.Diff(gone, found, cmpopts.IgnoreFields(vault.Object{}, "Revision")); err != nil || diff != "" {
		t.Errorf("GetDeleted differs from the answer of Delete: %v\n%s", err, diff)
	}

	back, err := w.svc.Recover(w.Ctx, w.call(), "DB-password")
	w.do(err)
	if diff := cmp.Diff(item.Version, back.Version); diff != "" || back.Object.Deleted != nil {
		t.Errorf("recovered:\n%s", diff)
	}
	w.reads(named("db-password"), "two")
	w.reads(secret.Selector{Name: "db-password", Version: first.Version.ID}, "one")
	_, err = w.svc.Recover(w.Ctx, w.call(), "db-password")
	w.fails(err, fault.NotFound, "SecretNotFound")
	w.fails(w.svc.Purge(w.Ctx, w.call(), "db-password"), fault.NotFound, "SecretNotFound")

	_, err = w.svc.Delete(w.Ctx, w.call(), "db-password")
	w.do(err)
	w.EditVault(func(v *vault.Vault) { v.PurgeProtection = true })
	w.fails(w.svc.Purge(w.Ctx, w.call(), "db-password"), fault.Forbidden, "PurgeProtected")
	w.EditVault(func(v *vault.Vault) { v.PurgeProtection = false })
	w.do(w.svc.Purge(w.Ctx, w.call(), "db-password"))
	w.fails(w.svc.Purge(w.Ctx, w.call(), "db-password"), fault.NotFound, "SecretNotFound")
	third := w.set("db-PASSWORD", "three")
	if third.Object.ID == first.Object.ID || third.Version.Previous != "" || third.Object.Name != "db-PASSWORD" {
		t.Errorf("the name's next life: %+v", third.Object)
	}
	_, _, err = w.get(secret.Selector{Name: "db-password", Version: first.Version.ID})
	w.fails(err, fault.NotFound, "SecretNotFound")
	w.reads(named("db-password"), "three")
}

func TestEveryOperationIsAudited(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, nil)
	nobody := w.Caller()
	var blob []byte
	ops := []struct {
		name   string
		action authz.Action
		change bool
		do     func(*guard.Call) error
	}{
		{"set", authz.SecretSet, true, func(c *guard.Call) error {
			_, err := w.svc.Set(w.Ctx, c, "a", secret.Input{Value: []byte("v"), Enabled: true})
			return err
		}},
		{"get", authz.SecretGet, false, func(c *guard.Call) error { _, _, err := w.svc.Get(w.Ctx, c, named("a"), nil); return err }},
		{"list", authz.SecretList, false, func(c *guard.Call) error { _, err := w.svc.List(w.Ctx, c, secret.Page{Limit: 5}); return err }},
		{"versions", authz.SecretList, false, func(c *guard.Call) error { _, err := w.svc.Versions(w.Ctx, c, "a", secret.Page{Limit: 5}); return err }},
		{"update", authz.SecretUpdate, true, func(c *guard.Call) error { _, err := w.svc.Update(w.Ctx, c, named("a"), secret.Change{}); return err }},
		{"backup", authz.SecretBackup, false, func(c *guard.Call) error {
			b, err := w.svc.Backup(w.Ctx, c, "a")
			if err == nil {
				blob = b
			}
			return err
		}},
		{"delete", authz.SecretDelete, true, func(c *guard.Call) error { _, err := w.svc.Delete(w.Ctx, c, "a"); return err }},
		{"get deleted", authz.SecretGetDeleted, false, func(c *guard.Call) error { _, err := w.svc.GetDeleted(w.Ctx, c, "a"); return err }},
		{"list deleted", authz.SecretList, false, func(c *guard.Call) error { _, err := w.svc.ListDeleted(w.Ctx, c, secret.Page{Limit: 5}); return err }},
		{"recover", authz.SecretRecover, true, func(c *guard.Call) error { _, err := w.svc.Recover(w.Ctx, c, "a"); return err }},
		{"delete again", authz.SecretDelete, true, func(c *guard.Call) error { _, err := w.svc.Delete(w.Ctx, c, "a"); return err }},
		{"purge", authz.SecretPurge, true, func(c *guard.Call) error { return w.svc.Purge(w.Ctx, c, "a") }},
		{"restore", authz.SecretRestore, true, func(c *guard.Call) error { _, err := w.svc.Restore(w.Ctx, c, blob); return err }},
	}
	for _, op := range ops {
		w.Audit.Take()
		w.fails(op.do(w.Call(nobody)), fault.Forbidden, authz.ForbiddenByRbac)
		if list := w.Audit.Take(); len(list) != 1 || list[0].Outcome != "denied" || list[0].Action != op.action.String() || list[0].Kind != "secret" {
			t.Errorf("%s: records of a refusal: %+v", op.name, list)
		}
		w.Audit.Break(errors.New("full"))
		if err := op.do(w.call()); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s without an audit log: %v", op.name, err)
		}
		w.Audit.Break(nil)
		changes := len(w.Changes())
		if err := op.do(w.call()); err != nil {
			t.Fatalf("%s: %v", op.name, err)
		}
		list := w.Audit.Take()
		if op.change {
			if len(list) > 0 {
				t.Errorf("%s: a change left records outside its transaction: %+v", op.name, list)
			}
			list = w.Changes()[changes:]
		}
		if len(list) != 1 || list[0].Outcome != "allowed" || list[0].Action != op.action.String() || list[0].Principal != string(w.admin.Principal) {
			t.Errorf("%s: records: %+v", op.name, list)
		}
	}
}

func TestFailedChangesAreAudited(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, func(c *secret.Config) { c.MaxValueBytes, c.MaxVersions = 8, 2 })
	w.set("a", "1")
	w.set("a", "2")
	tests := []struct {
		name   string
		kind   fault.Kind
		reason fault.Reason
		do     func() error
	}{
		{"a long value", fault.Invalid, "ValueTooLarge", func() error {
			_, err := w.svc.Set(w.Ctx, w.call(), "b", secret.Input{Value: []byte("123456789")})
			return err
		}},
		{"too many versions", fault.Forbidden, "TooManyVersions", func() error { _, err := w.svc.Set(w.Ctx, w.call(), "a", secret.Input{}); return err }},
		{"tags without names", fault.Invalid, "", func() error {
			_, err := w.svc.Update(w.Ctx, w.call(), named("a"), secret.Change{Tags: map[string]string{"": ""}})
			return err
		}},
		{"an unknown version", fault.NotFound, "SecretNotFound", func() error {
			_, err := w.svc.Update(w.Ctx, w.call(), secret.Selector{Name: "a", Version: vault.NewVersionID(w.Clock.Now())}, secret.Change{})
			return err
		}},
		{"a forged backup", fault.Invalid, "", func() error { _, err := w.svc.Restore(w.Ctx, w.call(), []byte("forged")); return err }},
		{"an empty backup", fault.Invalid, "", func() error { _, err := w.svc.Restore(w.Ctx, w.call(), nil); return err }},
		{"locked keys", fault.Unavailable, "", func() error {
			w.Keys.Lock()
			defer func() { w.do(w.Keys.Unlock(w.Ctx)) }()
			_, err := w.svc.Set(w.Ctx, w.call(), "c", secret.Input{})
			if e := fault.As(err); e != nil {
				e = &fault.Error{Kind: e.Kind, Message: e.Message} // whatever the keyring's reason is
				return e
			}
			return err
		}},
	}
	for _, tt := range tests {
		w.Audit.Take()
		changes := len(w.Changes())
		w.fails(tt.do(), tt.kind, tt.reason)
		if list := w.Audit.Take(); len(list) != 1 || list[0].Outcome != "failed" || len(w.Changes()) != changes {
			t.Errorf("%s: records %+v", tt.name, list)
		}
	}
}

func TestValuesOfEveryShapeRoundTrip(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, nil)
	for i, value := range []string{"", "\x00", "\xff\xfe", strings.Repeat("é", 12_800), "{\"a\":1}", "\r\n\t "} {
		name := fmt.Sprintf("v%d", i)
		w.set(name, value)
		w.reads(named(name), value)
		dst := []byte("before:")
		_, got, err := w.svc.Get(w.Ctx, w.call(), named(name), dst)
		if err != nil || string(got) != "before:"+value {
			t.Errorf("appended: %.40q, %v", got, err)
		}
	}
}

func TestListings(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, nil)
	var want []string
	for i := range 23 {
		name := fmt.Sprintf("Secret-%02d", i)
		w.set(name, "x")
		want = append(want, name)
	}
	walk := func(list func(secret.Page) (secret.Listing, error)) (names []string) {
		for p := (secret.Page{Limit: 7}); ; {
			l, err := list(p)
			w.do(err)
			for _, item := range l.Items {
				names = append(names, item.Object.Name)
			}
			if l.Next == "" {
				return names
			}
			p.After = l.Next
		}
	}
	live := func(p secret.Page) (secret.Listing, error) { return w.svc.List(w.Ctx, w.call(), p) }
	gone := func(p secret.Page) (secret.Listing, error) { return w.svc.ListDeleted(w.Ctx, w.call(), p) }
	if diff := cmp.Diff(want, walk(live)); diff != "" {
		t.Errorf("live:\n%s", diff)
	}
	for _, name := range want[:9] {
		_, err := w.svc.Delete(w.Ctx, w.call(), name)
		w.do(err)
	}
	if diff := cmp.Diff(want[9:], walk(live)); diff != "" {
		t.Errorf("live:\n%s", diff)
	}
	if diff := cmp.Diff(want[:9], walk(gone)); diff != "" {
		t.Errorf("deleted:\n%s", diff)
	}
	var versions []vault.VersionID
	for range 9 {
		versions = append(versions, w.set("many", "x").Version.ID)
	}
	l, err := w.svc.Versions(w.Ctx, w.call(), "MANY", secret.Page{Limit: 5})
	w.do(err)
	rest, err := w.svc.Versions(w.Ctx, w.call(), "many", secret.Page{Limit: 5, After: l.Next})
	w.do(err)
	if len(l.Items) != 5 || len(rest.Items) != 4 || rest.Next != "" || l.Items[0].Version.ID > l.Items[4].Version.ID {
		t.Errorf("pages of versions: %d and %d", len(l.Items), len(rest.Items))
	}
	for i, item := range slices.Concat(l.Items, rest.Items) {
		if item.Version.ID != versions[i] {
			t.Errorf("version %d is %s: want %s", i, item.Version.ID, versions[i])
		}
	}
	if none, err := w.svc.Versions(w.Ctx, w.call(), "nobody", secret.Page{Limit: 5}); err != nil || len(none.Items) > 0 {
		t.Errorf("versions of an unknown name: %+v, %v", none, err)
	}
}

func TestPendingVersionsAreHidden(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, nil)
	first := w.set("a", "one")
	second := w.set("a", "two")
	w.Change(func(tx store.Tx) error {
		o, err := tx.Object(w.Ctx, w.Vault.ID, vault.Secret, "a")
		if err != nil {
			return err
		}
		return tx.PutObject(w.Ctx, o.With(vault.Current, first.Version.ID).With(vault.Pending, second.Version.ID))
	})
	w.reads(named("a"), "one")
	for _, sel := range []secret.Selector{{Name: "a", Version: second.Version.ID}, {Name: "a", Label: vault.Pending}} {
		_, _, err := w.get(sel)
		w.fails(err, fault.NotFound, "SecretNotFound")
		_, err = w.svc.Update(w.Ctx, w.call(), sel, secret.Change{})
		w.fails(err, fault.NotFound, "SecretNotFound")
	}
	if l, err := w.svc.Versions(w.Ctx, w.call(), "a", secret.Page{Limit: 9}); err != nil || len(l.Items) != 1 || l.Items[0].Version.ID != first.Version.ID {
		t.Errorf("versions: %+v, %v", l, err)
	}
}

func TestBackupsComeBackWhole(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, nil)
	for i := range 4 {
		_, err := w.svc.Set(w.Ctx, w.call(), "Db", secret.Input{Value: fmt.Appendf(nil, "value-%d", i), ContentType: "t", Tags: map[string]string{"n": fmt.Sprint(i)},
			Enabled: i != 1, Expires: time.Unix(4e9, 0).UTC()})
		w.do(err)
	}
	before, err := w.svc.Versions(w.Ctx, w.call(), "db", secret.Page{Limit: 9})
	w.do(err)
	blob, err := w.svc.Backup(w.Ctx, w.call(), "db")
	w.do(err)
	if bytes.Contains(blob, []byte("value-")) || bytes.Contains(blob, []byte(`"Db"`)) { // two bytes alone turn up by chance
		t.Error("the backup is in clear")
	}
	restore := func() error { _, err := w.svc.Restore(w.Ctx, w.call(), blob); return err }
	w.fails(restore(), fault.Conflict, "ObjectAlreadyExists")
	_, err = w.svc.Delete(w.Ctx, w.call(), "db")
	w.do(err)
	w.fails(restore(), fault.Conflict, "ObjectIsDeletedButRecoverable")
	w.do(w.svc.Purge(w.Ctx, w.call(), "db"))
	for i := range blob {
		if i%17 == 0 {
			bad := bytes.Clone(blob)
			bad[i] ^= 1
			_, err := w.svc.Restore(w.Ctx, w.call(), bad)
			w.fails(err, fault.Invalid, "")
		}
	}
	// A vault of another subscription, and one of another tenant, refuse it.
	w.do(restore())
	w.reads(named("db"), "value-3")
	after, err := w.svc.Versions(w.Ctx, w.call(), "db", secret.Page{Limit: 9})
	w.do(err)
	if len(before.Items) != len(after.Items) {
		t.Fatalf("%d versions came back of %d", len(after.Items), len(before.Items))
	}
	for i := range before.Items {
		want, got := *before.Items[i].Version, *after.Items[i].Version
		want.Object, want.Value, got.Object, got.Value = "", vault.Envelope{}, "", vault.Envelope{}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("version %d:\n%s", i, diff)
		}
	}
	for name, v := range map[string]*vault.Vault{
		"another subscription": w.AddVault(w.Vault.Tenant, vault.NewSubscriptionID(), "second"),
	} {
		w.World.Vault = v
		other := w.Caller(authz.VaultAdministrator)
		_, err := w.svc.Restore(w.Ctx, w.Call(other), blob)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSetsAtTheSameTime: each acknowledged value is a version of its own, and all chain up in one line.
func TestSetsAtTheSameTime(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, nil)
	const writers, each = 8, 12
	var group sync.WaitGroup
	var mu sync.Mutex
	set := make(map[vault.VersionID]string)
	for n := range writers {
		group.Go(func() {
			for i := range each {
				value := fmt.Sprintf("%d-%d", n, i)
				item, err := w.svc.Set(w.Ctx, w.call(), []string{"New", "NEW", "new"}[n%3], secret.Input{Value: []byte(value), Enabled: true})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				set[item.Version.ID] = value
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if len(set) != writers*each {
		t.Fatalf("%d versions of %d sets", len(set), writers*each)
	}
	item, _, err := w.get(named("new"))
	w.do(err)
	chain := 0
	for id := item.Object.Current; id != ""; chain++ {
		w.reads(secret.Selector{Name: "new", Version: id}, set[id])
		item, _, err := w.get(secret.Selector{Name: "new", Version: id})
		w.do(err)
		id = item.Version.Previous
	}
	if chain != len(set) {
		t.Errorf("the versions follow each other for %d of %d", chain, len(set))
	}
}

// TestNamesThatMoveUnderASet purges and creates a name while it is set: a value is sealed for one object and never opens
// under another, so every set has to land in the object that is there.
func TestNamesThatMoveUnderASet(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, nil)
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := w.svc.Delete(w.Ctx, w.call(), "a"); err == nil {
				if err := w.svc.Purge(w.Ctx, w.call(), "a"); err != nil && !fault.Is(err, fault.NotFound) {
					t.Error(err)
				}
			}
		}
	})
	for n := range 2 {
		group.Go(func() {
			if n > 0 {
				for {
					select {
					case <-stop:
						return
					default:
					}
					_, value, err := w.get(named("a"))
					if err != nil && !fault.Is(err, fault.NotFound) || err == nil && !strings.HasPrefix(value, "value-") {
						t.Errorf("%q, %v", value, err)
						return
					}
				}
			}
			defer close(stop)
			for i := range 25 {
				_, err := w.svc.Set(w.Ctx, w.call(), "a", secret.Input{Value: fmt.Appendf(nil, "value-%d", i), Enabled: true})
				if err != nil && !fault.Is(err, fault.Conflict) {
					t.Errorf("set %d: %v", i, err)
				}
			}
		})
	}
	group.Wait()
}

// TestASetThatFindsItsNameMoved stages the race that the test above may miss: between planning and committing, the name
// goes to another object.
func TestASetThatFindsItsNameMoved(t *testing.T) {
	moves := 0
	var w *world
	between := func() {
		moves--
		if _, err := w.svc.Delete(w.Ctx, w.call(), "a"); err == nil {
			w.do(w.svc.Purge(w.Ctx, w.call(), "a"))
			return
		}
		w.set("a", "theirs")
	}
	s := &hooked{before: func() bool { return moves > 0 }, run: func() { between() }}
	w = newWorld(t, guardtest.Options{Wrap: func(in store.Store) store.Store { s.Store = in; return s }}, nil)
	for _, tt := range []struct {
		moves int
		kind  fault.Kind
		ok    bool
	}{{1, 0, true}, {2, 0, true}, {4, 0, true}, {99, fault.Conflict, false}} {
		w.Audit.Take()
		changes := len(w.Changes())
		moves = tt.moves
		item, err := w.svc.Set(w.Ctx, w.call(), "a", secret.Input{Value: []byte("mine"), Enabled: true})
		moves = 0
		if tt.ok {
			if err != nil {
				t.Errorf("%d moves: %v", tt.moves, err)
				continue
			}
			w.reads(secret.Selector{Name: "a", Version: item.Version.ID}, "mine")
			mine := 0
			for _, e := range w.Changes()[changes:] {
				if e.Version == string(item.Version.ID) {
					mine++
				}
			}
			if mine != 1 {
				t.Errorf("%d moves: the set has %d records", tt.moves, mine)
			}
		} else {
			w.fails(err, tt.kind, "")
		}
		failed := 0
		for _, e := range w.Audit.Take() {
			if e.Outcome == "failed" && e.Action == authz.SecretSet.String() {
				failed++
			}
		}
		if want := map[bool]int{true: 0, false: 1}[tt.ok]; failed != want {
			t.Errorf("%d moves: %d records of failed sets; want %d", tt.moves, failed, want)
		}
	}
}

// TestSetsOverWhatIsRemembered: a node that has not been shown the commits of others sets what it remembers. It never goes by that: neither what it stores nor
// what it refuses.
func TestSetsOverWhatIsRemembered(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, nil)
	behind, err := secret.New(secret.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock})
	w.do(err)
	set := func(value string) (secret.Item, error) {
		return behind.Set(w.Ctx, w.call(), "a", secret.Input{Value: []byte(value), Enabled: true})
	}
	remember := func() {
		t.Helper()
		if _, _, err := behind.Get(w.Ctx, w.call(), secret.Selector{Name: "a"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	w.set("a", "one")
	remember()
	theirs := w.set("a", "two")
	mine, err := set("three")
	w.do(err)
	if mine.Version.Previous != theirs.Version.ID || mine.Object.Revision != 3 {
		t.Errorf("it follows %s in revision %d, want %s in 3", mine.Version.Previous, mine.Object.Revision, theirs.Version.ID)
	}
	w.reads(named("a"), "three")

	_, err = w.svc.Delete(w.Ctx, w.call(), "a")
	w.do(err)
	_, err = set("four")
	w.fails(err, fault.Conflict, "ObjectIsDeletedButRecoverable")
	w.do(w.svc.Purge(w.Ctx, w.call(), "a"))
	again, err := set("five")
	w.do(err)
	if again.Object.ID == mine.Object.ID || again.Version.Previous != "" {
		t.Errorf("after the purge it is %+v", again.Object)
	}
	w.reads(named("a"), "five")
}

// TestSetsReadNothingThatIsRemembered counts what a set asks the store.
func TestSetsReadNothingThatIsRemembered(t *testing.T) {
	c := &counting{}
	w := newWorld(t, guardtest.Options{Wrap: func(in store.Store) store.Store { c.Store = in; return c }}, nil)
	w.set("a", "one")
	for _, value := range []string{"two", "three"} {
		c.objects = 0
		w.set("a", value)
		if c.objects != 0 {
			t.Errorf("to set %q, the object was read %d times", value, c.objects)
		}
	}
	w.reads(named("a"), "three")
}

// counting is a store that counts how often an object is read in an Update.
type counting struct {
	store.Store
	objects int
}

func (c *counting) Update(ctx context.Context, op store.Op, fn func(store.Tx) error) error {
	return c.Store.Update(ctx, op, func(tx store.Tx) error { return fn(&countingTx{tx, c}) })
}

type countingTx struct {
	store.Tx
	of *counting
}

func (t *countingTx) Object(ctx context.Context, v vault.ID, k vault.Kind, name string) (*vault.Object, error) {
	t.of.objects++
	return t.Tx.Object(ctx, v, k, name)
}

// hooked is a store that lets something happen before an Update begins.
type hooked struct {
	store.Store
	before func() bool
	run    func()
	within bool
}

func (h *hooked) Update(ctx context.Context, op store.Op, fn func(store.Tx) error) error {
	if !h.within && h.run != nil && h.before() {
		h.within = true
		h.run()
		h.within = false
	}
	return h.Store.Update(ctx, op, fn)
}

func TestCommitsReportedLostAreAnsweredWithWhatWasStored(t *testing.T) {
	var lose atomic.Bool
	w := newWorld(t, guardtest.Options{Faults: sqlite.Faults{AfterCommit: func() error {
		if lose.Swap(false) {
			return errors.New("gone")
		}
		return nil
	}}}, nil)
	lose.Store(true)
	item := w.set("a", "one")
	w.reads(secret.Selector{Name: "a", Version: item.Version.ID}, "one")
	lose.Store(true)
	gone, err := w.svc.Delete(w.Ctx, w.call(), "a")
	if err != nil || gone.Object == nil || gone.Object.Deleted == nil {
		t.Errorf("deleted: %+v, %v", gone.Object, err)
	}
}

func TestAPurgeHonoursProtectionThatIsNewerThanItsView(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, nil)
	w.set("kept", "v")
	_, err := w.svc.Delete(w.Ctx, w.call(), "kept")
	w.do(err)
	before := w.call()
	w.do(w.Store.Update(w.Ctx, store.NewOp(w.Clock.Now()), func(tx store.Tx) error {
		v, err := tx.Vault(w.Ctx, before.Vault.Vault.ID)
		if err != nil {
			return err
		}
		v = v.Clone()
		v.PurgeProtection = true
		return tx.PutVault(w.Ctx, v)
	}))
	w.fails(w.svc.Purge(w.Ctx, before, "kept"), fault.Forbidden, "PurgeProtected")
}

// The record of a change names the version that was changed, also when the caller named none and others set the secret meanwhile.
func TestTheRecordOfAnUpdateNamesItsVersion(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, nil)
	w.set("a", "0")
	off := false
	update := func() (secret.Item, error) {
		return w.svc.Update(w.Ctx, w.call(), named("a"), secret.Change{Enabled: &off})
	}
	item, err := update()
	w.do(err)
	done := []secret.Item{item}
	var both sync.WaitGroup
	both.Go(func() {
		for i := range 20 {
			w.set("a", fmt.Sprint(i))
		}
	})
	for range 20 {
		if item, err := update(); err == nil {
			done = append(done, item)
		} else if !fault.Is(err, fault.Conflict) {
			t.Error(err)
		}
	}
	both.Wait()
	for _, e := range w.Changes() {
		if e.Action == authz.SecretUpdate.String() {
			if len(done) == 0 || e.Version != string(done[0].Version.ID) {
				t.Fatalf("the record names the version %q, changed was %+v", e.Version, done)
			}
			done = done[1:]
		}
	}
	if len(done) != 0 {
		t.Errorf("%d updates have no record", len(done))
	}
}
