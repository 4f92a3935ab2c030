package relational

import (
	"slices"
	"sync"

	"github.com/keywright/keywright/internal/store"
)

// Watchers are told of commits by an engine. The zero value has none.
type Watchers struct {
	// mu is held while watchers run, so that stop waits for a call under way.
	mu  sync.Mutex
	fns []*func(*store.Commit)
}

// Show tells every watcher of one commit.
func (w *Watchers) Show(c *store.Commit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fn := range w.fns {
		(*fn)(c)
	}
}

// Watch adds a watcher. stop is safe to call twice, but not from within fn.
func (w *Watchers) Watch(fn func(*store.Commit)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fns = append(w.fns, &fn)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fns = slices.DeleteFunc(w.fns, func(f *func(*store.Commit)) bool { return f == &fn })
	}
}
