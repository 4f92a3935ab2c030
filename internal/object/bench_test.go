package object

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// ordinary is the record of a secret as installations have them: a value of 128 bytes, sealed, in its third version.
func ordinary(n int) (cacheKey, *Record) {
	const sealing, wrapped = 1 + 12 + 16, 1 + 32 + 12 + 16
	made := time.UnixMicro(1.8e15 + int64(n)).UTC()
	v := &vault.Vault{ID: "019a5c0e8d2b7c3f9d5b1f3e5a7c9d1e", Tenant: "6f1b0a52-3c6e-4d0b-9a61-0c2e4f6a8b1d"}
	o := &vault.Object{ID: vault.NewObjectID(made), Kind: vault.Secret, Name: fmt.Sprintf("secret-%07d", n), Created: made, Revision: 1}
	var ver *vault.Version
	for i := range 3 {
		at := made.Add(time.Duration(i) * time.Millisecond)
		ver = &vault.Version{ID: vault.NewVersionID(at), Attributes: vault.Attributes{Enabled: true, Created: at, Updated: at}, Previous: o.Current}
		o = o.Promote(ver.ID)
	}
	ver.Value = vault.Envelope{Key: "8c1f5b7d9e2a4c6f8b0d1e3f5a7c9b2d", Ciphertext: make([]byte, 128+sealing), WrappedKey: make([]byte, wrapped)}
	r, err := newRecord(vault.Secret, v, o, ver)
	if err != nil {
		panic(err) // there is no rollout to decode
	}
	return cacheKey{v.ID, o.Name}, r
}

func BenchmarkPack(b *testing.B) {
	k, r := ordinary(1)
	var packed []byte
	var words dictionary
	var p packer
	b.ReportAllocs()
	for b.Loop() {
		packed, _ = p.pack(&words, k, r)
	}
	b.ReportMetric(float64(len(packed)), "bytes")
}

func BenchmarkUnpack(b *testing.B) {
	k, r := ordinary(1)
	var words dictionary
	packed, _ := new(packer).pack(&words, k, r)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := unpackRecord(packed, &words, k); !ok {
			b.Fatal("a packed record does not come back")
		}
	}
}

// BenchmarkZipf reads secrets whose popularity follows Zipf's law, of a million.
func BenchmarkZipf(b *testing.B) {
	const objects = 1_000_000
	c := newCache(DefaultCacheBytes, 0)
	_, master := ordinary(0)
	z := newZipf(objects)
	r := rand.New(rand.NewPCG(1, 2))
	hits, warm, n := 0, 0, 0
	read := func() {
		i := z.draw(r)
		k := cacheKey{master.object.Vault, fmt.Sprintf("secret-%07d", i)}
		got, ticket := c.get(k, "", "")
		if got == nil {
			_, rec := ordinary(i)
			c.put(k, rec, ticket)
			return
		}
		hits++
		if got.warm.Load() {
			warm++
		}
	}
	for range 1_500_000 {
		read()
	}
	hits, warm, n = 0, 0, 0
	for b.Loop() {
		read()
		n++
	}
	s := c.stats()
	var before, with runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&with)
	clear(c.shards[:])
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ReportMetric(float64(with.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-live")
	b.ReportMetric(100*float64(hits)/float64(n), "%hits")
	b.ReportMetric(100*float64(warm)/float64(n), "%warm")
	b.ReportMetric(float64(s.Objects), "objects")
	b.ReportMetric(float64(s.Bytes)/(1<<20), "MiB")
}

// BenchmarkMisses reads what is not in memory, over and over.
func BenchmarkMisses(b *testing.B) {
	c := newCache(DefaultCacheBytes, 0)
	k, r := ordinary(0)
	n := 0
	read := func() {
		k.name = fmt.Sprintf("secret-%07d", n)
		n++
		_, ticket := c.get(k, "", "")
		c.put(k, r, ticket)
	}
	for range 300_000 {
		read()
	}
	b.ReportAllocs()
	for b.Loop() {
		read()
	}
}

// zipf draws numbers below n, each as often as its reciprocal says.
type zipf []float64

func newZipf(n int) zipf {
	z, sum := make(zipf, n), 0.0
	for i := range z {
		sum += 1 / float64(i+1)
		z[i] = sum
	}
	return z
}

func (z zipf) draw(r *rand.Rand) int {
	at := r.Float64() * z[len(z)-1]
	low, high := 0, len(z)-1
	for low < high {
		if middle := (low + high) / 2; z[middle] < at {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}
