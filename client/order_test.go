package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// story is a server whose secret goes through versions, and whose stream tells of them in any order.
type story struct {
	mu      sync.Mutex
	current string
	// answer, when not nil, is asked before each read of the current version is answered with what was current when the read came.
	answer func()
	events chan string
	reads  int
}

func (s *story) set(version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = version
}

func (s *story) serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost: // an acknowledgement
		w.WriteHeader(http.StatusNoContent)
	case strings.HasSuffix(r.URL.Path, "/changes"):
		fmt.Fprint(w, "id: 1-a\nevent: ready\ndata: {}\n\n")
		for n := 2; ; n++ {
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case version := <-s.events:
				fmt.Fprintf(w, "id: %d-a\nevent: change\ndata: {\"name\":\"db\",\"version\":%q}\n\n", n, version)
			}
		}
	case r.URL.Query().Get("label") != "":
		fmt.Fprint(w, `{"name":"db","version":"v-candidate","value":"candidate","labels":["pending","candidate"]}`)
	default:
		s.mu.Lock()
		version, answer := s.current, s.answer
		s.reads++
		s.mu.Unlock()
		if answer != nil {
			answer()
		}
		fmt.Fprintf(w, `{"name":"db","version":%q,"value":%q,"labels":["current"]}`, version, version)
	}
}

func (s *story) value(t *testing.T) *Value {
	t.Helper()
	c, _ := fake(t, s.serve)
	v, err := NewValue(t.Context(), ValueConfig{Vault: c.Vault("v"), Name: "db", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func (s *story) seen(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		ok := is()
		s.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestLateChangesMoveNobodyBack tells a consumer of its changes twice, and the oldest last.
func TestLateChangesMoveNobodyBack(t *testing.T) {
	s := &story{current: "v-1", events: make(chan string)}
	v := s.value(t)
	s.set("v-3")
	s.events <- "v-3"
	s.seen(t, "the newest version", func() bool { return v.Current().Version == "v-3" })
	changed := v.Changed()
	for _, late := range []string{"v-2", "v-1", "v-2"} {
		s.mu.Lock()
		before := s.reads
		s.mu.Unlock()
		s.events <- late
		s.seen(t, "a look at the server", func() bool { return s.reads >= before+2 }) // it looks twice, since it finds another version than it was told
	}
	select {
	case <-changed:
		t.Errorf("a late notification moved the consumer to %s", v.Current().Version)
	default:
	}
	// Where the server itself returns to an older version, the consumer does too.
	s.set("v-2")
	s.events <- "v-2"
	s.seen(t, "the return", func() bool { return v.Current().Version == "v-2" })
}

// TestAChangeIsNotLostInAnotherRead has a read under way when a change is told: what it brings is from before the change.
func TestAChangeIsNotLostInAnotherRead(t *testing.T) {
	s := &story{current: "v-1", events: make(chan string)}
	v := s.value(t)
	s.seen(t, "the look when the stream stands", func() bool { return s.reads == 2 })
	asked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.mu.Lock()
	s.answer = func() { once.Do(func() { close(asked); <-release }) }
	s.mu.Unlock()
	// Somebody asks because of a refusal: again, if the look at the stream's begin was still under way and served both.
	go func() {
		for t.Context().Err() == nil {
			_ = v.Refused(t.Context(), "v-1")
			select {
			case <-asked:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Fatal("nobody asked")
	}
	s.set("v-2")
	s.events <- "v-2"
	time.Sleep(50 * time.Millisecond) // so that the follower waits for the read that is under way
	close(release)
	s.seen(t, "the change", func() bool { return v.Current().Version == "v-2" })
}

// TestALateCandidateMovesNobodyBack lets a target take its time over a candidate: by the time it says yes, two more versions have been current.
func TestALateCandidateMovesNobodyBack(t *testing.T) {
	s := &story{current: "v-1", events: make(chan string)}
	v := s.value(t)
	errRefused := errors.New("refused")
	err := v.SignIn(t.Context(), func(_ context.Context, secret *Secret) error {
		if secret.Version == "v-1" {
			return errRefused
		}
		s.set("v-3")
		s.events <- "v-3"
		s.seen(t, "the newest version", func() bool { return v.Current().Version == "v-3" })
		return nil
	}, func(err error) bool { return errors.Is(err, errRefused) })
	if err != nil || v.Current().Version != "v-3" {
		t.Errorf("signing in: %v; the consumer is at %s", err, v.Current().Version)
	}
}
