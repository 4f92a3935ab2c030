package object

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/vault"
)

// text is any text, an id as they are written in either way, nearly one, or one of a few that occur again.
func text(r *rand.Rand) string {
	switch r.IntN(5) {
	case 0:
		return string(vault.NewVersionID(time.Unix(r.Int64N(4e9), 0)))
	case 1:
		return vault.NewGUID()
	case 2:
		id := []byte([]string{string(vault.NewVersionID(time.Unix(r.Int64N(4e9), 0))), vault.NewGUID()}[r.IntN(2)])
		id[r.IntN(len(id))] = []byte("gG-AF \xff")[r.IntN(7)]
		return string(id)
	case 3:
		return fmt.Sprint("again ", r.IntN(3))
	}
	return fmt.Sprintf("%0*x", 1+r.IntN(200), r.Uint64())
}

// scatter gives every field of a structure a value of its own, so that one which packing forgets is missed.
func scatter(v reflect.Value, r *rand.Rand) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(r.Int64N(4e9)-1e9, r.Int64N(1e9)).UTC()))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			scatter(v.Field(i), r)
		}
	case v.Kind() == reflect.String:
		v.SetString(text(r))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.Int64:
		v.SetInt(r.Int64())
	case v.Kind() == reflect.Slice:
		v.SetBytes(fmt.Appendf(nil, "%0*x", 1+r.IntN(300), r.Uint64()))
	case v.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + r.IntN(20) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			scatter(key, r)
			scatter(value, r)
			v.SetMapIndex(key, value)
		}
	}
}

func TestPackedRecordsComeBackWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	empty, bare := new(Record), new(Record)
	bare.version.Value.Ciphertext, bare.version.Doc = []byte{}, []byte{}
	bare.object.Labels, bare.version.Tags = map[vault.Label]vault.VersionID{}, map[string]string{}
	list := []*Record{empty, bare}
	for range 200 {
		rec := new(Record)
		rec.tenant = "t"
		scatter(reflect.ValueOf(&rec.object).Elem(), r)
		scatter(reflect.ValueOf(&rec.version).Elem(), r)
		rec.object.Rollout, rec.object.Deleted = nil, nil // not packed: below
		list = append(list, rec)
	}
	var words dictionary
	var p packer
	for _, rec := range list {
		rec.version.Object = rec.object.ID
		k := cacheKey{rec.object.Vault, "name key"}
		packed, ok := p.pack(&words, k, rec)
		if !ok {
			t.Fatal("an ordinary record is not packed")
		}
		got, ok := unpackRecord(packed, &words, k)
		if !ok {
			t.Fatal("a packed record does not come back")
		}
		if _, ok := unpackRecord(packed, &words, cacheKey{"another", "name key"}); ok {
			t.Error("a record is given for another key")
		}
		clear(packed)
		if d := cmp.Diff(rec.object, got.object) + cmp.Diff(rec.version, got.version); d != "" || got.tenant != rec.tenant {
			t.Fatalf("a record came back as another one: %s", d)
		}
		if got.Object != &got.object || got.Version != &got.version {
			t.Error("a record shows another object or version than its own")
		}
	}
}

func TestOrdinaryRecordsAreShort(t *testing.T) {
	k, r := ordinary(1)
	var words dictionary
	var p packer
	first, _ := p.pack(&words, k, r)
	again, _ := p.pack(&words, k, r)
	// The sealed value and its key are random. Beside them its ids and its name take 51 bytes.
	if sealed := len(r.version.Value.Ciphertext) + len(r.version.Value.WrappedKey); len(again) > sealed+80 || len(again) != len(first) {
		t.Errorf("a record takes %d bytes at first and %d then, with %d that are sealed", len(first), len(again), sealed)
	}
	if n := testing.AllocsPerRun(100, func() { p.pack(&words, k, r) }); n > 0 {
		t.Errorf("packing allocates %v times", n)
	}
}

func TestInstantsArePackedByTheirDistance(t *testing.T) {
	now := time.UnixMicro(1.8e15 + 123_457)
	for us := range int64(1000) {
		at := now.Add(time.Duration(us) * time.Microsecond)
		if got := microOf(string(vault.NewVersionID(at))); got != at.UnixMicro() {
			t.Fatalf("an id made at %d says %d", at.UnixMicro(), got)
		}
	}
	for name, c := range map[string]struct {
		at    time.Time
		known int64
		max   int // bytes
	}{
		"zero":               {time.Time{}, now.UnixMicro(), 1},
		"the same":           {now, now.UnixMicro(), 1},
		"before":             {now.Add(-time.Microsecond), now.UnixMicro(), 1},
		"a minute later":     {now.Add(time.Minute), now.UnixMicro(), 4},
		"a year later":       {now.AddDate(1, 0, 0), now.UnixMicro(), 7},
		"finer":              {now.Add(1), now.UnixMicro(), 11},
		"long ago":           {time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), now.UnixMicro(), 11},
		"in ages":            {time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC), now.UnixMicro(), 11},
		"from a wrong id on": {now, microOf("ffffffffffffffffffffffffffffffff"), 11},
		"at the bound":       {time.UnixMicro(maxNear), -maxNear, 10},
		"as far as can be":   {time.UnixMicro(-1 << 62), 1 << 62, 16},
		"behind the bound":   {time.UnixMicro(-maxNear - 1), maxNear, 12},
	} {
		var p packer
		p.instant(c.at, c.known)
		u := unpacker{rest: p.head}
		if got := u.instant().from(c.known); !got.Equal(c.at) || len(u.rest) != 0 || len(p.head) > c.max {
			t.Errorf("%s: %s came back as %s, of %d bytes: want %d at most", name, c.at, got, len(p.head), c.max)
		}
	}
}

// However many vaults there are, and whatever callers call their tags, the dictionary stays small, and what is not in it comes back as well.
func TestDictionaryIsBounded(t *testing.T) {
	a := attic{max: 8 << 20}
	record := func(n uint64, tag string) (cacheKey, *Record) {
		k, r := ordinary(int(n))
		k.vault, r.version.Tags = vault.ID(vault.NewGUID()), map[string]string{tag: "value"}
		return k, r
	}
	held := func() (n, bytes int) {
		for _, t := range a.words.texts {
			bytes += len(t)
		}
		return len(a.words.texts), bytes
	}
	back := func(n uint64, k cacheKey, r *Record) {
		t.Helper()
		if got := a.get(n, k); got == nil || got.object.Vault != k.vault || cmp.Diff(got.version, r.version) != "" {
			t.Errorf("record %d came back as %+v, want %+v", n, got, r)
		}
	}
	for n := range uint64(1000) {
		k, r := record(n, fmt.Sprint("one of many tags ", n))
		k.vault = "v"
		a.put(n, 0, k, r)
		back(n, k, r)
	}
	if n, bytes := held(); n > maxTexts/2 || bytes > maxTexts/2*maxTextBytes || n < 10 {
		t.Errorf("callers' names are %d texts of %d bytes: want half of the room at most", n, bytes)
	}
	for n := range uint64(1000) {
		k, r := record(n, "long "+strings.Repeat("x", int(n)%500))
		a.put(n, 0, k, r)
		back(n, k, r)
	}
	if n, bytes := held(); n > maxTexts || n < maxTexts/2 || n != len(a.words.numbers) {
		t.Errorf("the dictionary has %d texts of %d bytes: want %d at most", n, bytes, maxTexts)
	}
	k, r := record(1, strings.Repeat("x", maxTextBytes+1))
	a.empty()
	if n, _ := held(); n != 0 || a.has(1) {
		t.Errorf("behind everything that had them %d texts are left", n)
	}
	a.put(1, 0, k, r)
	back(1, k, r)
	for _, text := range a.words.texts {
		if len(text) > maxTextBytes {
			t.Errorf("a text of %d bytes is in the dictionary", len(text))
		}
	}
}

func TestRareRecordsAreNotPacked(t *testing.T) {
	for name, change := range map[string]func(o *vault.Object){
		"deleted": func(o *vault.Object) { o.Deleted = &vault.Deletion{} },
		"rollout": func(o *vault.Object) { o.Rollout = []byte("{}") },
	} {
		r := sealed("a", "1", 1)
		change(&r.object)
		if _, ok := new(packer).pack(new(dictionary), cacheKey{}, r); ok {
			t.Errorf("%s: it is packed", name)
		}
	}
}

// fill reads so many objects of a vault, of 100 bytes each, and returns how many of them the cache still has.
func fill(c *cache, in vault.ID, n int) (had int) {
	for i := range n {
		k := cacheKey{in, fmt.Sprint("n", i)}
		r, ticket := c.get(k, "", "")
		if r == nil {
			c.put(k, sealed(k.name, "1", 100), ticket)
		} else if had++; r.Version.ID != "1" || r.Object.Name != k.name {
			panic("the cache returns another object")
		}
	}
	return had
}

func TestWhatIsReadOnceIsPacked(t *testing.T) {
	c := newCache(1<<20, 0)
	k, other := cacheKey{"v", "a"}, cacheKey{"v", "b"}
	late := c.ticket(k)
	c.committed("op", k)
	c.put(k, sealed("a", "1", 100), late)
	if c.served(k) != "" {
		t.Error("a record from before a commit is served")
	}
	c.put(k, sealed("a", "1", 100), c.ticket(k))
	if _, served := c.held(t); served != 0 || !c.shard(k).attic.has(c.shard(k).hash(k)) {
		t.Errorf("after the first read %d records stand as they are served: want it packed", served)
	}
	for range 2 {
		if id, o := c.known(k); c.served(k) != "1" || o == nil || id != o.ID {
			t.Error("what was packed is not there")
		}
		if r, _ := c.get(k, "2", ""); r != nil {
			t.Error("the current version is served as another")
		}
		if r, _ := c.get(k, "", vault.Previous); r != nil {
			t.Error("the current version is served as the previous one")
		}
	}
	if _, served := c.held(t); served != 1 {
		t.Error("what is read again and again stays packed")
	}
	if r, _ := c.get(k, "", ""); r == nil || !r.warm.Load() {
		t.Errorf("read again and again, it is %+v: it has no opener", r)
	}

	old := sealed("b", "1", 100)
	old.object.Current = "2"
	rollout := sealed("c", "1", 100)
	rollout.object.Rollout = []byte("{}")
	c.put(other, old, c.ticket(other))
	c.put(cacheKey{"v", "c"}, rollout, c.ticket(cacheKey{"v", "c"}))
	if _, served := c.held(t); served != 3 {
		t.Errorf("%d records stand as they are served: want that which is read often, another version and that with a rollout", served)
	}
	if r, _ := c.get(other, "", ""); r != nil {
		t.Error("another version is served as the current one")
	}
	if r, _ := c.get(other, "1", ""); r != old {
		t.Error("another version is not found by its id")
	}
}

// What is read a second time is served from where it is: only who reads it finds it, not who asks for something else.
func TestPackedRecordsLeaveWhenTheyAreReadAgain(t *testing.T) {
	c := newCache(1<<20, 0)
	k := cacheKey{"v", "a"}
	s := c.shard(k)
	c.put(k, sealed("a", "1", 100), c.ticket(k))
	c.known(k)
	c.get(k, "2", "")
	if s.attic.at[s.hash(k)].touched {
		t.Error("it counts as read by who asked for another version, or for its id")
	}
	first, _ := c.get(k, "", "")
	if first == nil || s.objects[k] != nil || !s.attic.touch(s.hash(k)) {
		t.Errorf("read once again it is %v, and its entry is %v: want a copy, and none", first, s.objects[k])
	}
	second, _ := c.get(k, "1", "")
	if second == nil || s.objects[k] == nil || s.attic.has(s.hash(k)) {
		t.Errorf("read twice again it is %v, and its entry is %v", second, s.objects[k])
	}
	if third, _ := c.get(k, "", ""); third != second || third == first {
		t.Error("it is served in another copy although it has an entry")
	}
}

func TestOldestBlockKeepsWhatWasRead(t *testing.T) {
	const records, max = 1000, 64 << 10 // a few times of what it can hold
	key := func(n uint64) cacheKey { return cacheKey{"v", fmt.Sprint("n", n)} }
	for name, c := range map[string]struct {
		read func(n uint64) bool
		// min and max count what is left of the first hundred.
		min, max int
	}{
		"nothing": {func(uint64) bool { return false }, 0, 0},
		"a few":   {func(n uint64) bool { return n < 100 && n%10 == 0 }, 10, 10},
		"all":     {func(uint64) bool { return true }, 0, 99}, // what is newer has to have room
	} {
		a := attic{max: max}
		for n := range uint64(records) {
			if !a.put(n, n%2, key(n), sealed(key(n).name, "1", int(n)%500)) {
				t.Fatalf("%s: an ordinary record is refused", name)
			}
			for old := range n {
				if c.read(old) {
					a.touch(old)
				}
			}
		}
		old := 0
		for n := range uint64(records) {
			r := a.get(n, key(n))
			switch {
			case r == nil && a.has(n):
				t.Fatalf("%s: record %d is damaged", name, n)
			case r == nil:
				continue
			case r.object.Name != key(n).name || len(r.version.Value.Ciphertext) != int(n)%500 || a.at[n].vault != uint16(n%2):
				t.Fatalf("%s: record %d came back as %+v", name, n, r)
			case n < 100:
				old++
			}
		}
		if _, bytes := a.stats(); bytes > max || old < c.min || old > c.max || !a.has(records-1) {
			t.Errorf("%s: the attic has %d old records, want %d to %d, and the newest: %t, in %d bytes", name, old, c.min, c.max, a.has(records-1), bytes)
		}
	}
}

func TestWhatHadToMakeRoomComesBack(t *testing.T) {
	const objects = 2000 // as they are served they take 2.4 MB
	const max = 1 << 20
	const bound = max + max*packedPercent/100
	c := newCache(max, 0)
	fill(c, "v", objects)
	had := fill(c, "v", objects)
	bytes, whole := c.held(t)
	if had < objects*9/10 || whole > objects/2 {
		t.Errorf("%d of %d objects are still there, %d of them as they are served: want nearly all, and less than half", had, objects, whole)
	}
	s := c.stats()
	if s.Bytes < bytes || s.Bytes > bound || s.Objects < objects*9/10 {
		t.Errorf("the cache tells of %d objects and %d bytes: want all that it has, and %d bytes at most", s.Objects, s.Bytes, bound)
	}
	fill(c, "v", 50*objects) // far more than it can hold
	if s := c.stats(); s.Bytes > bound || s.Bytes < bound*8/10 {
		t.Errorf("the cache takes %d bytes: want %d at most, and most of them", s.Bytes, bound)
	}
}

func TestNothingStaleComesBack(t *testing.T) {
	const objects, reads = 2000, 2 // so that some have an entry, and some were touched
	for name, c := range map[string]struct {
		drop func(*cache)
		want int
	}{
		"object": {drop: func(c *cache) {
			for i := range objects {
				c.committed("op", cacheKey{"v", fmt.Sprint("n", i)})
			}
		}},
		"vault":         {drop: func(c *cache) { c.dropVault("v") }},
		"all":           {drop: func(c *cache) { c.dropVault("") }},
		"another vault": {drop: func(c *cache) { c.dropVault("w") }, want: objects * 9 / 10},
	} {
		all := newCache(1<<20, 0)
		for range reads {
			fill(all, "v", objects)
		}
		c.drop(all)
		had := 0
		for i := range objects {
			if r, _ := all.get(cacheKey{"v", fmt.Sprint("n", i)}, "", ""); r != nil {
				had++
			}
		}
		if had < c.want || c.want == 0 && had > 0 {
			t.Errorf("%s: %d objects are still there, want %d", name, had, c.want)
		}
	}
}

func TestWhatWasSeenNewerDoesNotGrowOlder(t *testing.T) {
	c := newCache(1<<20, 0)
	k := cacheKey{"v", "a"}
	revision := func(n int64) *Record {
		r := sealed("a", "1", 100)
		r.object.ID, r.object.Revision = "o", n
		return r
	}
	ticket := c.ticket(k)
	c.read(k, revision(2))
	// Until it has to make room, whatever else its shard has: then the attic has it.
	for n := 0; c.shard(k).objects[k] != nil; n++ {
		if n == 100_000 {
			t.Fatal("the object did not have to make room")
		}
		other := cacheKey{"v", fmt.Sprint("n", n)}
		c.read(other, sealed(other.name, "1", 100))
	}
	c.put(k, revision(1), ticket) // a slower reader of what was before; nobody else has its shard
	if r, _ := c.get(k, "", ""); r == nil || r.Object.Revision != 2 {
		t.Errorf("revision 2 is followed by %+v", r)
	}
}
