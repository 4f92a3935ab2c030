package rotation

import (
	"maps"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/vault"
)

// maxJump is how far the clock of the wall may move away from the one that only counts before nothing is started any more: a wrong date would make
// everything due at once.
const maxJump = 5 * time.Minute

// jumps notices that the wall clock was set. Its zero value is ready. Nobody can say which of two dates is right but people, and each tenant's own: what
// one of them takes for right stays in doubt for the others.
type jumps struct {
	mu   sync.Mutex
	last time.Time
	off  time.Duration
	// trusted is the offset that somebody of a tenant took for right; a tenant that is not in it trusts the clock of the start.
	trusted map[vault.TenantID]time.Duration
	// since is when somebody of a tenant last took a moved clock for right, by that clock.
	since map[vault.TenantID]time.Time
	// told are the tenants whose people know of the pause.
	told map[vault.TenantID]bool
}

// see takes an instant with its monotonic reading, and notes how far the wall clock was moved since the first.
func (j *jumps) see(now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.note(now)
}

// note is see for a caller that holds the mutex.
func (j *jumps) note(now time.Time) {
	if !j.last.IsZero() {
		j.off += now.Round(0).Sub(j.last.Round(0)) - now.Sub(j.last)
	}
	j.last = now
	for t := range j.told {
		if j.away(t) == 0 {
			delete(j.told, t)
		}
	}
}

// away is how far the clock is from the one that the tenant trusts, 0 when that is near enough. The caller holds the mutex.
func (j *jumps) away(t vault.TenantID) time.Duration {
	if d := j.off - j.trusted[t]; d.Abs() > maxJump {
		return d
	}
	return 0
}

// by is what an instant is by the clock that the tenant trusts, counted on while the clock of the wall is another one.
func (j *jumps) by(t vault.TenantID, now time.Time) time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.note(now)
	if off := j.away(t); off != 0 {
		return now.Round(0).Add(-off)
	}
	return now
}

// latest is what an instant is by the clock of the tenant that counts ahead of all others.
func (j *jumps) latest(now time.Time) time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.note(now)
	least := j.away("") // all who trust the clock of the start
	for t := range j.trusted {
		least = min(least, j.away(t))
	}
	return now.Round(0).Add(-least)
}

// resumed is when somebody of the tenant last took a moved clock for right; zero for never. now is by the tenant's clock: what lies after it was noted before the
// clock was set back while nobody looked, and since when that is so is all that is known.
func (j *jumps) resumed(t vault.TenantID, now time.Time) time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.since[t].After(now) {
		j.since[t] = clock.Micro(now)
	}
	return j.since[t]
}

// paused returns how far the clock is from the one that the tenant trusts; 0 when it is near enough.
func (j *jumps) paused(t vault.TenantID) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.away(t)
}

// never reports whether the clock was never moved, so that no tenant can be in doubt.
func (j *jumps) never() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.off.Abs() <= maxJump && len(j.trusted) == 0
}

// trust takes the clock as it is now for the one that is right for the tenant.
func (j *jumps) trust(t vault.TenantID, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.told, t)
	if j.since == nil {
		j.since = make(map[vault.TenantID]time.Time)
	}
	j.since[t] = clock.Micro(now)
	if j.off.Abs() <= maxJump {
		delete(j.trusted, t) // it is back
		return
	}
	if j.trusted == nil {
		j.trusted = make(map[vault.TenantID]time.Duration)
	}
	j.trusted[t] = j.off
}

// untold takes the turn to tell a tenant's people of a pause, if nobody has.
func (j *jumps) untold(t vault.TenantID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.told[t] {
		return false
	}
	if j.told == nil {
		j.told = make(map[vault.TenantID]bool)
	}
	j.told[t] = true
	return true
}

// again lets the next one tell, since this one could not.
func (j *jumps) again(t vault.TenantID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.told, t)
}

// clockState is what of it outlives the process, by tenants: a restart proves nothing about the date.
type clockState struct {
	Off     time.Duration                    `json:"off"`
	Trusted map[vault.TenantID]time.Duration `json:"trusted,omitempty"`
	Since   map[vault.TenantID]time.Time     `json:"since,omitempty"`
	Told    map[vault.TenantID]bool          `json:"told,omitempty"`
}

// doubted returns how far the clock was moved while a tenant is paused because of it; 0 while none is.
func (j *jumps) doubted() time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	for t := range j.told {
		if d := j.away(t); d != 0 {
			return d
		}
	}
	return 0
}

// state returns what is to be kept, rounded so that it is the same while nothing happens; without an offset for a clock that nobody has to doubt.
func (j *jumps) state() clockState {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.off.Abs() <= maxJump && len(j.trusted) == 0 {
		return clockState{Since: maps.Clone(j.since)}
	}
	return clockState{j.off.Round(time.Second), maps.Clone(j.trusted), maps.Clone(j.since), maps.Clone(j.told)}
}

// trusting is what state returns once the tenant takes the clock for right.
func (j *jumps) trusting(t vault.TenantID, now time.Time) clockState {
	j.mu.Lock()
	n := jumps{off: j.off, trusted: maps.Clone(j.trusted), since: maps.Clone(j.since), told: maps.Clone(j.told)}
	j.mu.Unlock()
	n.trust(t, now)
	return n.state()
}

// restore goes on from what was kept.
func (j *jumps) restore(s clockState) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.off, j.trusted, j.since, j.told = j.off+s.Off, s.Trusted, s.Since, s.Told
}
