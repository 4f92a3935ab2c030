package upkeep_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/client"
)

// vaultName is the vault of a development server.
const vaultName = "demo"

// maxValueBytes bounds the values that writers set.
const maxValueBytes = 12 << 10

// value is the n-th one of a name: who finds it can tell whose it is, and whether it is whole.
func value(name string, n int) string {
	sum := sha256.Sum256(fmt.Append(nil, name, "/", n))
	size := 1 + int(sum[0])<<8 + int(sum[1])
	text := strings.Repeat(hex.EncodeToString(sum[:]), 1+size/(2*len(sum)))
	return fmt.Sprintf("%s/%d/%s", name, n, text[:size%maxValueBytes])
}

// A moment counts what was begun and acknowledged before it; zero is never.
type moment int64

// version is one version that a writer makes. What it is is known as soon as it is asked for: a value, or nothing for a key, which the server makes.
type version struct {
	begun, acked moment
	id           string
	// content is the value of a secret, or the public half of a key.
	content string
}

// object is one secret or key of one writer, with what has been done to it.
type object struct {
	name     string
	key      bool
	versions []version
	// Each is when something was asked for and when it was acknowledged.
	deleting, deleted, purging, purged moment
}

// load is some writers and readers at work on a server.
type load struct {
	t      testing.TB
	prefix string

	mu      sync.Mutex
	now     moment
	objects []*object
	writes  int
	reads   int
}

// mark is the present moment.
func (l *load) mark() moment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tick()
}

// tick begins another moment. mu is held.
func (l *load) tick() moment { l.now++; return l.now }

// note changes what is known, at a moment of its own.
func (l *load) note(change func(moment)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l.tick())
}

// newLoad has its objects named by a prefix. Its own objects are all that it ever touches.
func newLoad(t testing.TB, prefix string) *load { return &load{t: t, prefix: prefix} }

// work is the load on a server until it is stopped: nothing of it may fail.
func (l *load) work(c *client.Client) (stop func()) {
	ctx, cancel := context.WithCancel(l.t.Context())
	var all sync.WaitGroup
	for w := range 3 {
		all.Go(func() { l.write(ctx, c.Vault(vaultName), w) })
	}
	for range 2 {
		all.Go(func() { l.read(ctx, c.Vault(vaultName)) })
	}
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); all.Wait() }) }
	l.t.Cleanup(stop)
	return stop
}

// fail tells of an operation that did not work; one that the end of the load cut off is none.
func (l *load) fail(ctx context.Context, err error) bool {
	if err != nil && ctx.Err() == nil {
		l.t.Errorf("under a backup: %v", err)
	}
	return err != nil
}

// write is one writer. It ends between two operations: what it has begun it finishes.
func (l *load) write(ctx context.Context, v *client.Vault, w int) {
	r := rand.New(rand.NewPCG(uint64(w), 1))
	kept, born := make([]*object, 6), 0
	var alive, deleted []*object // that do not stay, the oldest first
	key := l.object(fmt.Sprintf("%s-key-%d", l.prefix, w), true)
	// An operation under way is waited for, so that it is known what became of it.
	whole := context.WithoutCancel(ctx)
	for ctx.Err() == nil {
		var err error
		switch what := r.IntN(20); {
		case what < 14:
			i := r.IntN(len(kept))
			if kept[i] == nil {
				kept[i] = l.object(fmt.Sprintf("%s-kept-%d-%d", l.prefix, w, i), false)
			}
			err = l.set(whole, v, kept[i])
		case what < 15:
			err = l.makeKey(whole, v, key)
		case what < 18:
			alive = append(alive, l.object(fmt.Sprintf("%s-short-%d-%d", l.prefix, w, born), false))
			born++
			err = l.set(whole, v, alive[len(alive)-1])
		case what < 19 && len(alive) > 2:
			err = l.delete(whole, v, alive[0])
			deleted, alive = append(deleted, alive[0]), alive[1:]
		case len(deleted) > 1:
			err = l.purge(whole, v, deleted[0])
			deleted = deleted[1:]
		}
		if l.fail(whole, err) {
			return
		}
	}
}

func (l *load) object(name string, key bool) *object {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &object{name: name, key: key}
	l.objects = append(l.objects, o)
	return o
}

// set makes the next version of a secret.
func (l *load) set(ctx context.Context, v *client.Vault, o *object) error {
	var content string
	var n int
	l.note(func(now moment) {
		n = len(o.versions)
		content = value(o.name, n)
		o.versions = append(o.versions, version{begun: now, content: content})
	})
	made, err := v.Set(ctx, o.name, []byte(content))
	if err != nil {
		return fmt.Errorf("setting %s: %w", o.name, err)
	}
	l.note(func(now moment) { o.versions[n].acked, o.versions[n].id = now, made.Version; l.writes++ })
	return nil
}

// makeKey makes the next version of a key.
func (l *load) makeKey(ctx context.Context, v *client.Vault, o *object) error {
	var n int
	l.note(func(now moment) { n = len(o.versions); o.versions = append(o.versions, version{begun: now}) })
	made, err := v.Keys().Create(ctx, o.name, client.CreateKey{Type: "EC"})
	if err != nil {
		return fmt.Errorf("making the key %s: %w", o.name, err)
	}
	l.note(func(now moment) {
		o.versions[n].acked, o.versions[n].id, o.versions[n].content = now, made.Version, made.PublicKey
		l.writes++
	})
	return nil
}

func (l *load) delete(ctx context.Context, v *client.Vault, o *object) error {
	l.note(func(now moment) { o.deleting = now })
	if _, err := v.Delete(ctx, o.name); err != nil {
		return fmt.Errorf("deleting %s: %w", o.name, err)
	}
	l.note(func(now moment) { o.deleted = now; l.writes++ })
	return nil
}

func (l *load) purge(ctx context.Context, v *client.Vault, o *object) error {
	l.note(func(now moment) { o.purging = now })
	if err := v.Purge(ctx, o.name); err != nil {
		return fmt.Errorf("purging %s: %w", o.name, err)
	}
	l.note(func(now moment) { o.purged = now; l.writes++ })
	return nil
}

// read reads secrets that are there: each time a whole value that is no older than the last one that was acknowledged.
func (l *load) read(ctx context.Context, v *client.Vault) {
	for ctx.Err() == nil {
		o, least := l.readable()
		if o == nil {
			time.Sleep(time.Millisecond) // somebody writes
			continue
		}
		got, err := v.Get(ctx, o.name)
		l.mu.Lock()
		gone := o.deleting != 0
		l.mu.Unlock()
		if gone { // meanwhile
			continue
		}
		if l.fail(ctx, err) || ctx.Err() != nil {
			return
		}
		if n := l.which(o, string(got.Bytes())); n < least {
			l.t.Errorf("under a backup: %s has the value %d, and %d was acknowledged before it was read", o.name, n, least)
			return
		}
		l.mu.Lock()
		l.reads++
		l.mu.Unlock()
		pause()
	}
}

// readable chooses a secret that is there, and says which of its versions has been acknowledged.
func (l *load) readable() (*object, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.objects) == 0 {
		return nil, 0
	}
	o := l.objects[rand.IntN(len(l.objects))]
	for n := len(o.versions) - 1; n >= 0; n-- {
		if o.versions[n].acked != 0 && o.deleting == 0 && !o.key {
			return o, n
		}
	}
	return nil, 0
}

// which finds a value among those that were asked for; -1 when it is none of them.
func (l *load) which(o *object, content string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := len(o.versions) - 1; n >= 0; n-- {
		if o.versions[n].content == content {
			return n
		}
	}
	return -1
}
