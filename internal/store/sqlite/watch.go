package sqlite

import (
	"slices"
	"sync"

	"github.com/keywright/keywright/internal/store"
)

// watchers are told of commits by the writer.
type watchers struct {
	// mu is held while watchers run, so that stop waits for a call under way.
	mu  sync.Mutex
	fns []*func(*store.Commit)
}

// show tells every watcher of one commit.
func (w *watchers) show(c *store.Commit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fn := range w.fns {
		(*fn)(c)
	}
}

// Watch implements store.Store. stop is safe to call twice, but not from within fn.
func (s *Store) Watch(fn func(*store.Commit)) (stop func()) {
	w := &s.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fns = append(w.fns, &fn)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fns = slices.DeleteFunc(w.fns, func(f *func(*store.Commit)) bool { return f == &fn })
	}
}
