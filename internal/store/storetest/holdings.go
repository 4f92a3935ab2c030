package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// nodeName is the node whose position cases move.
const nodeName = "node"

// newHolding returns a row of the ledger with every field filled.
func newHolding(f *fixture) *store.Holding {
	return &store.Holding{HoldingKey: store.HoldingKey{Vault: f.vault.ID, Kind: vault.Secret, NameKey: "db-password", Version: f.second.ID,
		Principal: f.service.ID, Instance: "pod-7"}, Tenant: f.tenant.ID, Weak: true, First: noon, Last: noon.Add(time.Minute),
		Loaded: noon.Add(time.Second), Used: noon.Add(2 * time.Second), Seen: noon.Add(3 * time.Second), Doc: []byte(`{"a":"b\u0000"}`)}
}

var holdingReaders = strings.Fields("Holding Holdings Projected")

var holdingMutations = []mutation{
	{method: "AddHolding", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		f.holding.Instance = "pod-9"
		added, err := tx.AddHolding(e.ctx, f.holding)
		if !added && err == nil {
			err = errors.New("a new row was not added")
		}
		return err
	}},
	{method: "PutHolding", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		f.holding.Last = noon.Add(time.Hour)
		return tx.PutHolding(e.ctx, f.holding)
	}},
	{method: "PutHolding", as: "of another instance", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		f.holding.Instance = "pod-8"
		return tx.PutHolding(e.ctx, f.holding)
	}},
	{method: "TouchHolding", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		f.holding.Last = noon.Add(time.Hour)
		found, err := tx.TouchHolding(e.ctx, f.holding.HoldingKey, f.holding.Last)
		if !found && err == nil {
			err = errors.New("the row was not found")
		}
		return err
	}},
	{method: "DeleteHoldings", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		_, err := tx.DeleteHoldings(e.ctx, f.vault.ID, vault.Secret, f.holding.NameKey, "", 10)
		return err
	}},
	{method: "SetProjected", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error { return tx.SetProjected(e.ctx, nodeName, 7) }},
}

var holdingCases = []testCase{
	{name: "Holdings/RoundTrip", run: holdingsRoundTrip},
	{name: "Holdings/Add", run: holdingsAdd},
	{name: "Holdings/Touch", run: holdingsTouch},
	{name: "Holdings/NotFound", run: holdingsNotFound},
	{name: "Holdings/Query", run: holdingsQuery},
	{name: "Holdings/Delete", run: holdingsDelete},
	{name: "Holdings/Projected", run: projected},
}

func holding(e *env, k store.HoldingKey) *store.Holding {
	e.Helper()
	return read(e, func(tx store.Tx) (*store.Holding, error) { return tx.Holding(e.ctx, k) })
}

func holdingsRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	same(e, "the row", holding(e, f.holding.HoldingKey), f.holding)
	// A zero instant is kept as zero, and a row is replaced whole.
	bare := &store.Holding{HoldingKey: f.holding.HoldingKey, Tenant: "other"}
	e.update(func(tx store.Tx) error { return tx.PutHolding(e.ctx, bare) })
	same(e, "the replaced row", holding(e, f.holding.HoldingKey), bare)
	// Finer instants are cut, and put in UTC.
	at := noon.Add(1234 * time.Nanosecond).In(time.FixedZone("x", 3600))
	bare.First, bare.Last, bare.Loaded, bare.Used, bare.Seen = at, at, at, at, at
	e.update(func(tx store.Tx) error { return tx.PutHolding(e.ctx, bare) })
	got := holding(e, f.holding.HoldingKey)
	for _, t := range []time.Time{got.First, got.Last, got.Loaded, got.Used, got.Seen} {
		if t != noon.Add(time.Microsecond) {
			e.Errorf("an instant was kept as %v", t)
		}
	}
}

func holdingsAdd(e *env) {
	f := newFixture()
	f.seed(e)
	add := func(h *store.Holding) (added bool) {
		e.update(func(tx store.Tx) (err error) {
			added, err = tx.AddHolding(e.ctx, h)
			return err
		})
		return added
	}
	other := *f.holding
	other.Last, other.Doc = noon.Add(time.Hour), []byte("other")
	if add(&other) {
		e.Error("a row whose key is taken was added")
	}
	same(e, "the row that was there", holding(e, f.holding.HoldingKey), f.holding)
	other.Instance = "pod-9"
	if !add(&other) {
		e.Error("a new row was not added")
	}
	same(e, "the added row", holding(e, other.HoldingKey), &other)
}

func holdingsTouch(e *env) {
	f := newFixture()
	f.seed(e)
	touch := func(k store.HoldingKey, last time.Time) (found bool) {
		e.update(func(tx store.Tx) (err error) {
			found, err = tx.TouchHolding(e.ctx, k, last)
			return err
		})
		return found
	}
	want := *f.holding
	for _, c := range []struct {
		what     string
		at, want time.Time
		found    bool
	}{
		{"later", want.Last.Add(time.Second + 999), want.Last.Add(time.Second), true},
		{"at the same instant", want.Last.Add(time.Second), want.Last.Add(time.Second), true},
		{"earlier", want.Last, want.Last.Add(time.Second), true},
		{"at the first delivery", want.First, want.Last.Add(time.Second), true},
		{"before the first delivery", want.First.Add(-time.Microsecond), want.Last.Add(time.Second), false},
	} {
		if found := touch(want.HoldingKey, c.at); found != c.found {
			e.Errorf("touched %s: found is %t", c.what, found)
		}
		want.Last = c.want
		same(e, "the row touched "+c.what, holding(e, want.HoldingKey), &want)
	}
	// A delivery of which there is only the first has a last one then; a row of claims alone is none of a delivery.
	bare := &store.Holding{HoldingKey: want.HoldingKey, Tenant: f.tenant.ID, First: noon}
	e.update(func(tx store.Tx) error { return tx.PutHolding(e.ctx, bare) })
	if !touch(bare.HoldingKey, noon.Add(time.Minute)) {
		e.Error("a row without a last delivery was not found")
	}
	bare.Last = noon.Add(time.Minute)
	same(e, "the row without a last delivery", holding(e, bare.HoldingKey), bare)
	bare.First, bare.Last, bare.Loaded = time.Time{}, time.Time{}, noon
	e.update(func(tx store.Tx) error { return tx.PutHolding(e.ctx, bare) })
	if touch(bare.HoldingKey, noon.Add(time.Hour)) {
		e.Error("a row that was never delivered was found")
	}
	same(e, "the row of claims", holding(e, bare.HoldingKey), bare)
	for name, k := range otherHoldings(f.holding.HoldingKey) {
		if touch(k, noon.Add(time.Hour)) {
			e.Errorf("a row of another %s was found", name)
		}
	}
}

// otherHoldings are the keys that differ from one in one column.
func otherHoldings(k store.HoldingKey) map[string]store.HoldingKey {
	keys := map[string]store.HoldingKey{}
	for name, change := range map[string]func(*store.HoldingKey){
		"vault": func(k *store.HoldingKey) { k.Vault = "x" }, "kind": func(k *store.HoldingKey) { k.Kind = vault.Key },
		"name": func(k *store.HoldingKey) { k.NameKey = "x" }, "version": func(k *store.HoldingKey) { k.Version = "x" },
		"principal": func(k *store.HoldingKey) { k.Principal = "x" }, "instance": func(k *store.HoldingKey) { k.Instance = "x" },
	} {
		other := k
		change(&other)
		keys[name] = other
	}
	return keys
}

func holdingsNotFound(e *env) {
	f := newFixture()
	f.seed(e)
	reads := map[string]func(store.Tx) error{}
	for name, k := range otherHoldings(f.holding.HoldingKey) {
		reads["Holding of another "+name] = func(tx store.Tx) error { _, err := tx.Holding(e.ctx, k); return err }
	}
	missing(e, reads, nil)
}

// seedHoldings stores rows in a mixed order and returns them in the order of keys. Many share the instant of their first delivery, and some have none.
func seedHoldings(e *env) []*store.Holding {
	firsts := []time.Time{noon.Add(time.Second), {}, noon, noon.Add(-time.Hour), noon}
	var all []*store.Holding
	for _, v := range []string{"v1", "v2"} {
		for _, k := range []vault.Kind{vault.Certificate, vault.Secret} {
			for _, name := range []string{"a", "b"} {
				for _, version := range []string{"", "1", "2"} {
					for _, p := range []string{"p1", "p2"} {
						for _, instance := range []string{"", "i"} {
							all = append(all, &store.Holding{Tenant: vault.TenantID("t" + v), First: firsts[len(all)*7%len(firsts)], HoldingKey: store.HoldingKey{Vault: vault.ID(v), Kind: k,
								NameKey: name, Version: vault.VersionID(version), Principal: principal.ID(p), Instance: instance}})
						}
					}
				}
			}
		}
	}
	e.update(func(tx store.Tx) error {
		for _, i := range rand.Perm(len(all)) {
			if err := tx.PutHolding(e.ctx, all[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return all
}

func selects(q *store.HoldingQuery, h *store.Holding) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(string(q.Tenant), string(h.Tenant)) && is(string(q.Vault), string(h.Vault)) && is(string(q.Kind), string(h.Kind)) && is(q.NameKey, h.NameKey) &&
		is(string(q.Version), string(h.Version)) && is(string(q.Principal), string(h.Principal))
}

func holdingsQuery(e *env) {
	all := seedHoldings(e)
	queries := []store.HoldingQuery{{}, {Tenant: "tv2"}, {Vault: "v1"}, {Kind: vault.Secret}, {NameKey: "b"}, {Version: "2"}, {Principal: "p2"},
		{Vault: "v2", Kind: vault.Secret, NameKey: "a"}, {Vault: "v2", Kind: vault.Secret, NameKey: "a", Version: "1"},
		{Vault: "v1", Principal: "p1", Tenant: "tv1"}, {Principal: "p1", Version: "1"}, {Tenant: "none"},
		{Vault: "v2", Kind: vault.Secret, NameKey: "a", Version: "1", Principal: "p1"}}
	for _, q := range queries {
		want := slices.DeleteFunc(slices.Clone(all), func(h *store.Holding) bool { return !selects(&q, h) })
		slices.SortFunc(want, func(a, b *store.Holding) int { return comparePlaces(&q, a.Place(), b.Place()) })
		for _, limit := range []int{0, 1, 5} {
			q.Limit, q.After = limit, nil
			var got []*store.Holding
			for {
				page := read(e, func(tx store.Tx) ([]*store.Holding, error) { return tx.Holdings(e.ctx, q) })
				if limit > 0 && len(page) > limit {
					e.Fatalf("%+v: a page has %d rows", q, len(page))
				}
				got = append(got, page...)
				if len(page) == 0 || limit == 0 {
					break
				}
				q.After = page[len(page)-1].Place()
			}
			same(e, fmt.Sprintf("%+v", q), got, want)
		}
		// A listing can go on from any place, also one of a row that it would not show.
		for _, place := range []store.HoldingPlace{
			{HoldingKey: store.HoldingKey{Vault: "v1", Kind: vault.Secret, NameKey: "b"}},
			{HoldingKey: store.HoldingKey{Vault: "v1", Kind: vault.Secret, NameKey: "b", Principal: "p1"}, First: noon},
			{HoldingKey: store.HoldingKey{Vault: "v2", Kind: vault.Secret, NameKey: "a", Version: "1", Principal: "p1"}},
		} {
			q.After, q.Limit = &place, 0
			behind := slices.DeleteFunc(slices.Clone(want), func(h *store.Holding) bool { return comparePlaces(&q, h.Place(), &place) <= 0 })
			same(e, fmt.Sprintf("%+v behind %v", q, place), read(e, func(tx store.Tx) ([]*store.Holding, error) { return tx.Holdings(e.ctx, q) }), behind)
		}
	}
}

func comparePlaces(q *store.HoldingQuery, a, b *store.HoldingPlace) int {
	if q.ByFirst() {
		if c := cmp.Or(cmp.Compare(a.Principal, b.Principal), a.First.Compare(b.First)); c != 0 {
			return c
		}
	}
	tuple := func(k *store.HoldingPlace) []string {
		return []string{string(k.Vault), string(k.Kind), k.NameKey, string(k.Version), string(k.Principal), k.Instance}
	}
	return slices.Compare(tuple(a), tuple(b))
}

func holdingsDelete(e *env) {
	all := seedHoldings(e)
	remove := func(version vault.VersionID, limit int) int {
		n := 0
		e.update(func(tx store.Tx) (err error) {
			n, err = tx.DeleteHoldings(e.ctx, "v1", vault.Secret, "a", version, limit)
			return err
		})
		return n
	}
	if n := remove("2", 0); n != 4 {
		e.Errorf("%d rows of the version were removed, want 4", n)
	}
	for _, want := range []int{5, 3, 0} { // what is left: eight rows of two versions
		if n := remove("", 5); n != want {
			e.Errorf("%d rows of the object were removed, want %d", n, want)
		}
	}
	want := slices.DeleteFunc(slices.Clone(all), func(h *store.Holding) bool {
		return h.Vault == "v1" && h.Kind == vault.Secret && h.NameKey == "a"
	})
	same(e, "what is left", read(e, func(tx store.Tx) ([]*store.Holding, error) { return tx.Holdings(e.ctx, store.HoldingQuery{}) }), want)
}

func projected(e *env) {
	at := func(node string) int64 {
		return read(e, func(tx store.Tx) (int64, error) { return tx.Projected(e.ctx, node) })
	}
	set := func(node string, index int64) {
		e.update(func(tx store.Tx) error { return tx.SetProjected(e.ctx, node, index) })
	}
	if got := at("n1"); got != 0 {
		e.Errorf("before the first it is %d, want 0", got)
	}
	set("n1", 5)
	set("n2", 3)
	set("n1", 4) // it never moves back
	if at("n1") != 5 || at("n2") != 3 {
		e.Errorf("the positions are %d and %d, want 5 and 3", at("n1"), at("n2"))
	}
	// Rows and position are one change: both are there or none.
	f := newFixture()
	err := e.try(func(tx store.Tx) error {
		if err := tx.PutHolding(e.ctx, f.holding); err != nil {
			return err
		}
		if err := tx.SetProjected(e.ctx, "n1", 9); err != nil {
			return err
		}
		return fault.New(fault.Conflict, "changed my mind")
	})
	is(e, "the update", err, fault.Conflict)
	if at("n1") != 5 {
		e.Errorf("the position moved to %d without its rows", at("n1"))
	}
}
