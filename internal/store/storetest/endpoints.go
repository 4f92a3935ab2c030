package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var endpointReaders = strings.Fields("Endpoint EndpointByName Endpoints CountEndpoints")

var endpointCases = []testCase{
	{name: "Endpoints/RoundTrip", run: endpointsRoundTrip, reopens: true},
	{name: "Endpoints/NotFound", run: endpointsNotFound},
	{name: "Endpoints/CompareAndSwap", run: func(e *env) {
		f := newFixture()
		swaps(e, f, func(tx store.Tx, revision int64) error {
			c := *f.endpoint
			c.Revision = revision
			return tx.PutEndpoint(e.ctx, &c)
		}, func(s *state) int64 { return s.Endpoints[0].Revision })
	}},
	{name: "Endpoints/Names", run: endpointNames},
	{name: "Endpoints/Selection", run: endpointsSelection},
}

func endpointChange(f *fixture) []store.Change {
	return []store.Change{{Kind: store.EndpointChanged, Tenant: f.endpoint.Tenant, Vault: f.endpoint.Vault, NameKey: "front-71", Key: f.endpoint.ID}}
}

var endpointMutations = []mutation{
	{method: "PutEndpoint", want: endpointChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.endpoint.Revision, f.endpoint.Doc = 1, []byte("other")
		return tx.PutEndpoint(e.ctx, f.endpoint)
	}},
	{method: "DeleteEndpoint", want: endpointChange, apply: func(e *env, f *fixture, tx store.Tx) error { return tx.DeleteEndpoint(e.ctx, f.endpoint.ID) }},
}

func newEndpoint(n int) *store.Endpoint {
	return &store.Endpoint{ID: hex32(n), Tenant: vault.TenantID(guid(1)), Vault: vault.ID(hex32(30)), Name: fmt.Sprint("Front-", n), Certificate: "web",
		NextAt: noon.Add(-time.Duration(n) * time.Second), Doc: []byte{0, byte(n), 255}}
}

func endpointsRoundTrip(e *env) {
	p := newEndpoint(45)
	check := func() {
		e.Helper()
		e.update(func(tx store.Tx) error { return tx.PutEndpoint(e.ctx, p) })
		p.Revision++
		e.reopen()
		same(e, "by id", read(e, func(tx store.Tx) (*store.Endpoint, error) { return tx.Endpoint(e.ctx, p.ID) }), p)
		same(e, "by name", read(e, func(tx store.Tx) (*store.Endpoint, error) {
			return tx.EndpointByName(e.ctx, p.Vault, strings.ToUpper(p.Name))
		}), p)
	}
	check()
	// Every member changes, and what was set becomes unset.
	p.Name, p.Certificate, p.NextAt, p.Doc = "Other", "", time.Time{}, []byte("other")
	check()
}

func endpointsNotFound(e *env) {
	missing(e, map[string]func(tx store.Tx) error{
		"Endpoint":       func(tx store.Tx) error { _, err := tx.Endpoint(e.ctx, "x"); return err },
		"EndpointByName": func(tx store.Tx) error { _, err := tx.EndpointByName(e.ctx, "x", "y"); return err },
	}, map[string]func(tx store.Tx) error{
		"DeleteEndpoint": func(tx store.Tx) error { return tx.DeleteEndpoint(e.ctx, "x") },
	})
}

func endpointNames(e *env) {
	first, second, elsewhere := newEndpoint(1), newEndpoint(2), newEndpoint(3)
	second.Name, elsewhere.Name, elsewhere.Vault = strings.ToUpper(first.Name), first.Name, vault.ID(hex32(60))
	e.update(func(tx store.Tx) error {
		return firstOf(tx.PutEndpoint(e.ctx, first), tx.PutEndpoint(e.ctx, elsewhere))
	})
	is(e, "a taken name", e.try(func(tx store.Tx) error { return tx.PutEndpoint(e.ctx, second) }), fault.Conflict)
	second.Name = "second"
	e.update(func(tx store.Tx) error { return tx.PutEndpoint(e.ctx, second) })
	second.Revision, second.Name = 1, first.Name
	is(e, "a taken name in a change", e.try(func(tx store.Tx) error { return tx.PutEndpoint(e.ctx, second) }), fault.Conflict)
	e.update(func(tx store.Tx) error { return tx.DeleteEndpoint(e.ctx, first.ID) })
	e.update(func(tx store.Tx) error { return tx.PutEndpoint(e.ctx, second) })
}

func endpointsSelection(e *env) {
	never, external, elsewhere := newEndpoint(2), newEndpoint(4), newEndpoint(5)
	never.NextAt, external.Certificate, elsewhere.Vault = time.Time{}, "", vault.ID(hex32(60))
	e.update(func(tx store.Tx) error {
		return firstOf(tx.PutEndpoint(e.ctx, newEndpoint(1)), tx.PutEndpoint(e.ctx, never), tx.PutEndpoint(e.ctx, newEndpoint(3)), tx.PutEndpoint(e.ctx, external),
			tx.PutEndpoint(e.ctx, elsewhere))
	})
	list := func(q store.EndpointQuery) (ids []int) {
		for _, p := range read(e, func(tx store.Tx) ([]*store.Endpoint, error) { return tx.Endpoints(e.ctx, q) }) {
			for n := 1; n <= 5; n++ {
				if p.ID == hex32(n) {
					ids = append(ids, n)
				}
			}
		}
		return ids
	}
	here := vault.ID(hex32(30))
	same(e, "all", list(store.EndpointQuery{}), []int{1, 2, 3, 4, 5})
	same(e, "of a vault", list(store.EndpointQuery{Vault: here}), []int{1, 2, 3, 4})
	same(e, "of a certificate", list(store.EndpointQuery{Vault: here, Certificate: "web"}), []int{1, 2, 3})
	same(e, "a page", list(store.EndpointQuery{Vault: here, After: hex32(1), Limit: 2}), []int{2, 3})
	same(e, "due", list(store.EndpointQuery{DueBefore: noon}), []int{5, 4, 3, 1})
	same(e, "due then", list(store.EndpointQuery{DueBefore: noon.Add(-4 * time.Second), Limit: 1}), []int{5})
	for most, want := range map[int]int{0: 4, 2: 2, 9: 4} {
		same(e, "the count", read(e, func(tx store.Tx) (int, error) { return tx.CountEndpoints(e.ctx, here, most) }), want)
	}
}
