package powerloss

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// outcomes builds many crash states at the end of what calls does and returns the distinct trees.
func outcomes(t *testing.T, faults Faults, calls func(r *Recorder)) map[string]bool {
	t.Helper()
	r := newRecorder(Config{Faults: faults})
	calls(r)
	found := map[string]bool{}
	scratch := memory(t)
	for n := range 150 {
		dir := filepath.Join(scratch, fmt.Sprint(n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		crash := Crash{Seed: uint64(n), Pos: len(r.log.Ops), Draw: uint64(n)}
		if _, err := r.Log().Build(crash, dir); err != nil {
			t.Fatal(err)
		}
		found[fmt.Sprint(tree(t, dir))] = true
	}
	return found
}

// memory returns an empty directory in memory where there is one: a disk makes these tests take seconds.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "powerloss")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// add makes a file with content, neither synced.
func add(r *Recorder, dir *inode, name, data string) *inode {
	ino := r.newInode(syscall.S_IFREG|0o600, name)
	r.name(Create, dir, name, ino)
	r.write(ino, []byte(data), 0)
	return ino
}

// sync is an fsync through a descriptor that was opened just before.
func (r *Recorder) sync(ino *inode) syscall.Errno {
	return r.syncThrough(ino, &handle{reported: ino.failedSyncs})
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults Faults
		calls  func(r *Recorder)
		want   []string
	}{
		{"a synced file without its name", Faults{}, func(r *Recorder) {
			r.sync(add(r, r.root, "f", "data"))
		}, []string{"map[]", "map[f:data]"}},
		{"a synced name without its data", Faults{}, func(r *Recorder) {
			add(r, r.root, "f", "data")
			r.sync(r.root)
		}, []string{"map[f:]", "map[f:data]", "map[f:\x00\x00\x00\x00]"}},
		{"a rename is one event", Faults{}, func(r *Recorder) {
			r.sync(add(r, r.root, "old", "1"))
			r.sync(add(r, r.root, "new", "2"))
			r.sync(r.root)
			r.rename(r.root, "new", r.root, "old", false)
		}, []string{"map[new:2 old:1]", "map[old:2]"}},
		{"a rename between directories needs both", Faults{}, func(r *Recorder) {
			d := r.newInode(syscall.S_IFDIR|0o700, "d")
			r.name(Mkdir, r.root, "d", d)
			r.sync(add(r, r.root, "f", "1"))
			r.sync(r.root)
			r.rename(r.root, "f", d, "g", false)
			r.sync(r.root)
		}, []string{"map[d/: f:1]", "map[d/: d/g:1]"}},
		{"a rename between directories with both", Faults{}, func(r *Recorder) {
			d := r.newInode(syscall.S_IFDIR|0o700, "d")
			r.name(Mkdir, r.root, "d", d)
			r.sync(add(r, r.root, "f", "1"))
			r.rename(r.root, "f", d, "g", false)
			r.sync(r.root)
			r.sync(d)
		}, []string{"map[d/: d/g:1]"}},
		{"a later event on a name wins over a pending one", Faults{}, func(r *Recorder) {
			d := r.newInode(syscall.S_IFDIR|0o700, "d")
			r.name(Mkdir, r.root, "d", d)
			r.sync(add(r, r.root, "f", "old"))
			r.sync(r.root)
			r.rename(r.root, "f", d, "g", false)
			r.sync(add(r, r.root, "f", "new"))
			r.sync(r.root)
		}, []string{"map[d/: f:new]", "map[d/: d/g:old f:new]"}},
		{"a failed fsync settles for good", Faults{SyncErrorAt: 1}, func(r *Recorder) {
			f := add(r, r.root, "f", "data")
			r.sync(f)
			r.sync(f)
			r.sync(r.root)
			r.write(f, []byte("DATA"), 0)
			r.sync(f)
		}, []string{"map[f:DATA]"}},
		{"a failed fsync is not mended by the next", Faults{SyncErrorAt: 1}, func(r *Recorder) {
			f := add(r, r.root, "f", "data")
			r.sync(f)
			r.sync(f)
			r.sync(r.root)
		}, []string{"map[f:]", "map[f:data]", "map[f:\x00\x00\x00\x00]"}},
		{"an fsync that is told of an earlier failure keeps nothing, and loses nothing that the next does not keep", Faults{SyncErrorAt: 1}, func(r *Recorder) {
			other := &handle{}
			f := add(r, r.root, "f", "data")
			r.sync(f)
			r.sync(r.root)
			r.write(f, []byte("DATA"), 0)
			r.syncThrough(f, other)
			r.sync(f)
		}, []string{"map[f:DATA]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := map[string]bool{}
			for _, w := range c.want {
				want[w] = true
			}
			if diff := cmp.Diff(want, outcomes(t, c.faults, c.calls)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestFailedSyncIsToldOnce has an fsync fail that covers what another descriptor wrote: its holder must hear of it.
func TestFailedSyncIsToldOnce(t *testing.T) {
	r := newRecorder(Config{Faults: Faults{SyncErrors: 1, Foreign: true}})
	f := add(r, r.root, "f", "data")
	writer, beside, later := &handle{}, &handle{}, &handle{}
	f.writer = writer
	for i, step := range []struct {
		through *handle
		want    syscall.Errno
	}{{beside, syscall.EIO}, {writer, syscall.EIO}, {writer, 0}, {beside, 0}, {later, syscall.EIO}, {later, 0}} {
		if got := r.syncThrough(f, step.through); got != step.want {
			t.Errorf("fsync %d: %v, want %v", i, got, step.want)
		}
	}
	if got := r.sync(f); got != 0 {
		t.Errorf("fsync through a descriptor that was opened afterwards: %v", got)
	}
}

// TestSlowSync proves that writes which arrive while an fsync runs are not covered by it.
func TestSlowSync(t *testing.T) {
	got := outcomes(t, Faults{}, func(r *Recorder) {
		f := add(r, r.root, "f", "1")
		r.sync(r.root)
		began := len(r.log.Ops)
		r.write(f, []byte("2"), 0)
		r.add(Op{Kind: Sync, Inode: f.id, Covers: began})
	})
	if want := map[string]bool{"map[f:1]": true, "map[f:2]": true}; !maps.Equal(got, want) {
		t.Errorf("a file: states %v", got)
	}
	got = outcomes(t, Faults{}, func(r *Recorder) {
		began := len(r.log.Ops)
		add(r, r.root, "f", "")
		r.add(Op{Kind: SyncDir, Inode: rootInode, Covers: began})
	})
	if want := map[string]bool{"map[]": true, "map[f:]": true}; !maps.Equal(got, want) {
		t.Errorf("a directory: states %v", got)
	}
}

// TestTornWrite looks for a state that has the second sector of a write and not the first.
func TestTornWrite(t *testing.T) {
	a, b := strings.Repeat("a", sectorBytes), strings.Repeat("b", sectorBytes)
	got := outcomes(t, Faults{}, func(r *Recorder) {
		add(r, r.root, "f", a+b)
		r.sync(r.root)
	})
	if torn := fmt.Sprint(map[string]string{"f": strings.Repeat("\x00", sectorBytes) + b}); !got[torn] {
		t.Errorf("no state is torn among %d", len(got))
	}
}

// TestCrashRepeats builds a campaign's states a second time, each alone, and wants the same trees.
func TestCrashRepeats(t *testing.T) {
	r := newRecorder(Config{Faults: Faults{SyncErrors: 0.3, Seed: 7}})
	f := add(r, r.root, "f", "")
	for i := range 50 {
		r.write(f, []byte(strings.Repeat(fmt.Sprint(i%10), 700)), int64(i*300))
		r.sync(f)
		r.acknowledge([]byte(fmt.Sprint(i)))
	}
	log, tally := r.Log(), &tally{}
	var mu sync.Mutex
	seen := map[int]map[string]string{}
	c := Campaign{Log: log, Seed: 5, Check: func(dir string, acked []Ack) error {
		mu.Lock()
		defer mu.Unlock()
		seen[len(seen)] = tree(t, dir)
		return ErrHalf // so that the tally names the crash
	}}
	if err := c.round(filepath.Join(memory(t), "s"), 0, 5, tally); err != nil {
		t.Fatal(err)
	}
	for i, failure := range tally.First {
		dir := memory(t)
		acked, err := log.Build(failure.Crash, dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(seen[i], tree(t, dir)); diff != "" {
			t.Errorf("%s (-campaign +alone):\n%s", failure.Crash, diff)
		}
		for _, ack := range acked {
			if ack.Pos >= failure.Crash.Pos {
				t.Errorf("%s: acknowledgement at %d", failure.Crash, ack.Pos)
			}
		}
	}
	if len(tally.First) != 5 {
		t.Errorf("%d states", len(tally.First))
	}
}

// TestLimit fills the disk through the tree.
func TestLimit(t *testing.T) {
	r := newRecorder(Config{Faults: Faults{Limit: 1000}})
	f := add(r, r.root, "f", strings.Repeat("x", 900))
	if n, errno := r.write(f, make([]byte, 200), 900); n != 100 || errno != 0 {
		t.Errorf("the write that half fits: %d, %v", n, errno)
	}
	if _, errno := r.write(f, []byte("x"), 1000); errno != syscall.ENOSPC {
		t.Errorf("the write that does not fit: %v", errno)
	}
	if n, errno := r.write(f, make([]byte, 500), 100); n != 500 || errno != 0 {
		t.Errorf("overwriting: %d, %v", n, errno)
	}
	r.unname(Unlink, r.root, "f")
	if r.Used() != 0 {
		t.Errorf("%d bytes in use after the file is gone", r.Used())
	}
}
