package powerloss

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestRandomHistories makes random calls on the tree and compares crash states with it: what keeps everything is the
// live tree, what keeps nothing is each file and directory as it was when it was last synced, and once everything is
// synced every draw gives the live tree.
func TestRandomHistories(t *testing.T) {
	scratch := memory(t)
	count := 0
	build := func(t *rapid.T, r *Recorder, d draw) map[string]string {
		count++
		dir := filepath.Join(scratch, fmt.Sprint(count))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		replay := newReplay(r.Log(), 1)
		replay.advance(len(r.log.Ops))
		var b builder
		if err := b.build(replay, d, dir); err != nil {
			t.Fatal(err)
		}
		return tree(t, dir)
	}
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory()
		for range rapid.IntRange(1, 40).Draw(t, "calls") {
			h.call(t)
		}
		if diff := cmp.Diff(h.tree(h.rec.root, live), build(t, h.rec, draw{share: 1})); diff != "" {
			t.Errorf("keeping everything (-live +state):\n%s", diff)
		}
		if diff := cmp.Diff(h.tree(h.rec.root, h.lastSynced), build(t, h.rec, draw{share: 0})); diff != "" {
			t.Errorf("keeping nothing (-synced +state):\n%s", diff)
		}
		for _, ino := range h.all {
			h.rec.sync(ino)
		}
		d := newDraw(Crash{Seed: rapid.Uint64().Draw(t, "seed"), Pos: len(h.rec.log.Ops)}, 0)
		if diff := cmp.Diff(h.tree(h.rec.root, live), build(t, h.rec, d)); diff != "" {
			t.Errorf("everything synced (-live +state):\n%s", diff)
		}
	})
}

// history is a recorder with a memory of what was synced, kept without looking at the log.
type history struct {
	rec    *Recorder
	all    []*inode
	synced map[uint64]view
}

// view is what an inode holds.
type view struct {
	data  string
	names map[string]*inode
}

func live(ino *inode) view {
	data := make([]byte, ino.size)
	ino.readAt(data, 0)
	return view{string(data), maps.Clone(ino.names)}
}

func (h *history) lastSynced(ino *inode) view { return h.synced[ino.id] }

func newHistory() *history {
	rec := newRecorder(Config{})
	return &history{rec: rec, all: []*inode{rec.root}, synced: map[uint64]view{}}
}

// tree lists what is reachable from dir in the given view: files with their content, directories with a slash.
func (h *history) tree(dir *inode, look func(*inode) view) map[string]string {
	list := map[string]string{}
	for name, ino := range look(dir).names {
		if !ino.dir() {
			list[name] = look(ino).data
			continue
		}
		list[name+"/"] = ""
		for below, data := range h.tree(ino, look) {
			list[name+"/"+below] = data
		}
	}
	return list
}

// call makes one random call. Renames stay in their directory: the others are not settled by one fsync.
func (h *history) call(t *rapid.T) {
	pick := func(dirs bool) *inode {
		var of []*inode
		for _, ino := range h.all {
			if ino.dir() == dirs {
				of = append(of, ino)
			}
		}
		if len(of) == 0 {
			return nil
		}
		return rapid.SampledFrom(of).Draw(t, "inode")
	}
	name := func() string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name") }
	dir, file, r := pick(true), pick(false), h.rec
	switch what := rapid.IntRange(0, 8).Draw(t, "call"); {
	case what == 0:
		h.make(Create, dir, name(), syscall.S_IFREG|0o600)
	case what == 1:
		h.make(Mkdir, dir, name(), syscall.S_IFDIR|0o700)
	case what == 2:
		r.unname(rapid.SampledFrom([]Kind{Unlink, Rmdir}).Draw(t, "kind"), dir, name())
	case what == 3:
		r.rename(dir, name(), dir, name(), false)
	case what == 4:
		h.sync(dir)
	case file == nil:
	case what == 5:
		data := strings.Repeat(rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "data"), rapid.IntRange(1, 500).Draw(t, "times"))
		r.write(file, []byte(data), int64(rapid.IntRange(0, 3000).Draw(t, "offset")))
	case what == 6:
		r.truncate(file, int64(rapid.IntRange(0, 3000).Draw(t, "size")))
	case what == 7:
		kind := rapid.SampledFrom([]Kind{Allocate, Zero}).Draw(t, "kind")
		off := rapid.IntRange(0, 1500).Draw(t, "offset")
		end := off + rapid.IntRange(1, 1500).Draw(t, "length")
		r.allocate(file, kind, int64(off), int64(end), rapid.Bool().Draw(t, "keep size"))
	case what == 8:
		h.sync(file)
	}
}

func (h *history) make(kind Kind, dir *inode, name string, mode uint32) {
	ino := h.rec.newInode(mode, name)
	if h.rec.name(kind, dir, name, ino) == 0 {
		h.all = append(h.all, ino)
	}
}

func (h *history) sync(ino *inode) {
	h.rec.sync(ino)
	h.synced[ino.id] = live(ino)
}

// tree lists a real directory as history.tree does.
func tree(t rapid.TB, root string) map[string]string {
	t.Helper()
	list := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		rel := strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		switch {
		case err != nil || rel == "":
		case entry.IsDir():
			list[rel+"/"] = ""
		default:
			var data []byte
			data, err = os.ReadFile(path)
			list[rel] = string(data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
