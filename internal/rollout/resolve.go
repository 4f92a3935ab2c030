package rollout

import (
	"slices"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// Consumer is who reads.
type Consumer struct {
	Principal principal.ID
	// Groups holds every group that the principal is in.
	Groups []principal.ID
	// Instance tells replicas of one principal apart. Weak instances, which are only guessed from addresses, count as one: a percentage
	// looks at their principal, so that a consumer does not change sides with its address.
	Instance string
	Weak     bool
	// Region is where the consumer runs; empty when it is not known.
	Region string
}

// Resolve returns the version that the consumer gets: the candidate or the base.
func (r *Rollout) Resolve(c *Consumer) vault.VersionID {
	switch r.State {
	case Finished:
		return r.Candidate
	case Open:
		if r.in(c, r.Opened) >= 0 {
			return r.Candidate
		}
	}
	return r.Base
}

// RingOf returns the index of the ring to which the consumer belongs, or -1 when it has to wait for the end of the rollout.
func (r *Rollout) RingOf(c *Consumer) int { return r.in(c, len(r.Rings)) }

// in returns the first of the first n rings that has the consumer, or -1.
func (r *Rollout) in(c *Consumer, n int) int {
	bucket := -1
	for i := range min(n, len(r.Rings)) {
		ring := &r.Rings[i]
		if len(ring.Regions) > 0 {
			if !has(ring.Regions, c.Region) {
				continue
			}
			if len(ring.Principals) == 0 && len(ring.Groups) == 0 && ring.Percent == 0 {
				return i
			}
		}
		if has(ring.Principals, c.Principal) {
			return i
		}
		if ring.Percent > 0 {
			if bucket < 0 {
				bucket = r.bucket(c)
			}
			if bucket < ring.Percent {
				return i
			}
		}
		if len(ring.Groups) > 0 {
			for _, g := range c.Groups {
				if has(ring.Groups, g) {
					return i
				}
			}
		}
	}
	return -1
}

func has[T ~string](list []T, v T) bool {
	_, ok := slices.BinarySearch(list, v)
	return ok
}

// bucket is one of a hundred for the consumer. The candidate goes into it, so that it is not always the same ones who are first.
func (r *Rollout) bucket(c *Consumer) int {
	h := hash(hash(offset, string(r.Candidate)), string(c.Principal))
	if !c.Weak {
		h = hash(h, c.Instance)
	}
	// FNV mixes its high bits badly; this is the finalizer of MurmurHash3, whose bits each depend on all.
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return int(h % 100)
}

// The constants of FNV-1a with 64 bits, from the page of its authors.
const (
	offset uint64 = 0xcbf29ce484222325
	prime  uint64 = 0x100000001b3
)

// hash is FNV-1a of the text and an end mark. hash/fnv would have to be given bytes, which a string costs an allocation to become.
func hash(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * prime
	}
	return (h ^ 0xff) * prime
}
