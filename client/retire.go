package client

import (
	"math/rand/v2"
	"sync"
	"time"
)

// DefaultMaxAge is how long a connection that was signed in with an old version may still be used. It should be at most half of the time for which an
// old version stays valid, where its end also ends sessions.
const DefaultMaxAge = time.Minute

// Retirement says when a connection has to go that was signed in with one version of a value. Connections of one version go one by one, at random moments
// within the age, so that they do not all sign in anew at once.
type Retirement struct {
	value   *Value
	version string
	age     time.Duration

	mu    sync.Mutex
	until time.Time
}

// Retirement returns that of a connection which was signed in with the version. An age of zero is DefaultMaxAge, and a negative one no time at all.
func (v *Value) Retirement(version string, age time.Duration) *Retirement {
	if age == 0 {
		age = DefaultMaxAge
	}
	return &Retirement{value: v, version: version, age: max(0, age)}
}

// Due reports whether the connection has to go now. Ask when nobody uses it.
func (r *Retirement) Due() bool {
	if r.value.Current().Version == r.version {
		return false
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until.IsZero() {
		r.until = now.Add(rand.N(r.age + 1))
	}
	return !now.Before(r.until)
}
