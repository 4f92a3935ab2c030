package rotation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"
)

// slots counts the runs at work in this process. Its zero value is ready.
type slots struct {
	mu     sync.Mutex
	all    int
	counts map[string]int
}

// seat is where a run counts.
type seat struct {
	target, rotator string
	urgent          bool
	// most lowers the bound of the target; 0 does not.
	most int
}

func seatOf(r *Run) seat {
	return seat{target: targetKey(r.Policy.Rotator, r.Policy.Target), rotator: "rotator " + r.Policy.Rotator, urgent: r.urgent(), most: r.Policy.Concurrency}
}

// targetKey is the same for policies that name the same target in the same words.
func targetKey(name string, config json.RawMessage) string {
	var compact bytes.Buffer
	if json.Compact(&compact, config) != nil {
		compact.Reset()
		compact.Write(config)
	}
	sum := sha256.Sum256(compact.Bytes())
	return "target " + name + " " + hex.EncodeToString(sum[:8])
}

// take counts a run in when there is room for it. An urgent one finds one place more at each bound. Otherwise full is the target or the rotator that has no
// place for any run that is not urgent, if it is one of them.
func (s *slots) take(at seat, caps Caps) (ok bool, full string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = make(map[string]int)
	}
	extra := 0
	if at.urgent {
		extra = 1
	}
	target := caps.Target
	if at.most > 0 && at.most < target {
		target = at.most
	}
	switch {
	case s.counts[at.rotator] >= caps.Rotator+extra:
		return false, at.rotator
	case s.counts[at.target] >= caps.Target+extra:
		return false, at.target
	case s.all >= caps.Global+extra, s.counts[at.target] >= target+extra:
		return false, ""
	}
	s.all++
	s.counts[at.rotator]++
	s.counts[at.target]++
	return true, ""
}

// full reports whether no run has a place but an urgent one.
func (s *slots) full(caps Caps) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all >= caps.Global
}

func (s *slots) free(at seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	for _, key := range []string{at.rotator, at.target} {
		if s.counts[key]--; s.counts[key] == 0 {
			delete(s.counts, key)
		}
	}
}
