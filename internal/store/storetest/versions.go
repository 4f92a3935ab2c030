package storetest

import (
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var versionCases = []testCase{
	{name: "Versions/RoundTrip", run: versionsRoundTrip},
	{name: "Versions/NewToTheirObject", run: versionsNew},
	{name: "Versions/OfNoObject", run: versionsOfNothing},
	{name: "Versions/ListAndCount", run: versionsList},
	{name: "Times/MicrosecondsInUTC", run: times},
}

func version(e *env, v *vault.Version) func(store.Tx) (*vault.Version, error) {
	return func(tx store.Tx) (*vault.Version, error) { return tx.Version(e.ctx, v.Object, v.ID) }
}

func versionsRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	same(e, "the version", read(e, version(e, f.first)), f.first)
	f.first.Attributes = vault.Attributes{Updated: noon.Add(time.Hour)}
	f.first.ContentType, f.first.Tags, f.first.State, f.first.Doc = "", nil, vault.Retired, nil
	f.first.Value = vault.Envelope{Key: "k2", WrappedKey: []byte{1}, Ciphertext: []byte{2}}
	e.update(func(tx store.Tx) error { return tx.PutVersion(e.ctx, f.first) })
	same(e, "the replaced version", read(e, version(e, f.first)), f.first)
	same(e, "the other version", read(e, version(e, f.second)), f.second)
	// What a version followed is history: no replacement rewrites it.
	rewritten := *f.second
	rewritten.Previous = vault.VersionID(hex32(99))
	e.update(func(tx store.Tx) error { return tx.PutVersion(e.ctx, &rewritten) })
	same(e, "the version it followed", read(e, version(e, f.second)), f.second)
	empty := &vault.Version{ID: vault.NewVersionID(noon), Object: f.object.ID}
	e.update(func(tx store.Tx) error { return tx.AddVersion(e.ctx, empty) })
	same(e, "a version without a value", read(e, version(e, empty)), empty)
}

func versionsNew(e *env) {
	f := newFixture()
	f.seed(e)
	is(e, "the same version", e.try(func(tx store.Tx) error { return tx.AddVersion(e.ctx, f.first) }), fault.Conflict)
	o, v := newObject(f.vault.ID, vault.Secret, "other")
	v.ID = f.first.ID
	e.update(func(tx store.Tx) error { return firstOf(tx.AddVersion(e.ctx, v), tx.PutObject(e.ctx, o)) })
}

// versionsOfNothing: a version whose object does not exist by the end of the update could never be found.
func versionsOfNothing(e *env) {
	_, v := newObject("v", vault.Secret, "other")
	is(e, "AddVersion", e.try(func(tx store.Tx) error { return tx.AddVersion(e.ctx, v) }), fault.NotFound)
}

func versionsList(e *env) {
	f := newFixture()
	f.seed(e)
	third := newVersion(f.object, noon.Add(time.Hour))
	e.update(func(tx store.Tx) error { return tx.AddVersion(e.ctx, third) })
	list := func(after vault.VersionID, limit int) []*vault.Version {
		return read(e, func(tx store.Tx) ([]*vault.Version, error) { return tx.Versions(e.ctx, f.object.ID, after, limit) })
	}
	same(e, "all", list("", 0), []*vault.Version{f.first, f.second, third})
	same(e, "the first two", list("", 2), []*vault.Version{f.first, f.second})
	same(e, "after the first", list(f.first.ID, 0), []*vault.Version{f.second, third})
	for limit, want := range map[int]int{0: 3, 2: 2, 9: 3} {
		got := read(e, func(tx store.Tx) (int, error) { return tx.CountVersions(e.ctx, f.object.ID, limit) })
		if got != want {
			e.Errorf("CountVersions with limit %d = %d, want %d", limit, got, want)
		}
	}
}

// times: instants come back in UTC, cut to microseconds; zero stays zero, also beyond what other formats can hold.
func times(e *env) {
	zone := time.FixedZone("west", -5*3600)
	o, v := newObject(vault.NewID(noon), vault.Secret, "o")
	for _, at := range []time.Time{
		{}, noon, noon.In(zone), noon.Add(999 * time.Nanosecond), time.Unix(0, 0), time.Unix(-1, 1), time.Now(),
		time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC),
	} {
		v.ID, o.ID, o.Name = vault.NewVersionID(noon), vault.NewObjectID(noon), o.Name+"o"
		v.Object = o.ID
		v.Attributes = vault.Attributes{NotBefore: at, Expires: at, Created: at, Updated: at}
		issuer := &store.TrustedIssuer{Tenant: "t", Issuer: "i", Created: at}
		e.update(func(tx store.Tx) error {
			return firstOf(tx.PutObject(e.ctx, o), tx.AddVersion(e.ctx, v), tx.PutTrustedIssuer(e.ctx, issuer))
		})
		want := at.UTC().Truncate(time.Microsecond)
		got := read(e, version(e, v)).Attributes
		stored := read(e, func(tx store.Tx) (*store.TrustedIssuer, error) { return tx.TrustedIssuer(e.ctx, "t", "i") })
		for _, got := range []time.Time{got.NotBefore, got.Expires, got.Created, got.Updated, stored.Created} {
			if !got.Equal(want) || got.Location() != time.UTC || got.IsZero() != at.IsZero() {
				e.Errorf("%v came back as %v, want %v", at, got, want)
			}
		}
	}
}
