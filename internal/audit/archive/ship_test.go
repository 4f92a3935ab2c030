package archive

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// TestBlockedStoreOnlyGrowsTheTail: commits that are lost and commits that are stored and reported lost leave neither gap nor repetition, and nobody who
// appends notices.
func TestBlockedStoreOnlyGrowsTheTail(t *testing.T) {
	w := testWorld(t)
	a, b := w.join("a"), w.join("b")
	var want []string
	for i := range 30 {
		w.clock.Advance(time.Second)
		a.read(i)
		want = append(want, fmt.Sprint("object-", i))
		w.lost, w.unanswered = i%3 == 1, i%3 == 2
		_, err := a.shipper.Ship(w.ctx)
		if blocked := w.lost || w.unanswered; blocked != (err != nil) {
			t.Fatalf("round %d: shipping answers %v", i, err)
		}
		w.lost, w.unanswered = false, false
	}
	if n, _ := a.shipper.Tail(); n == 0 {
		t.Error("the tail is empty although the store was away")
	}
	a.ship()
	if n, _ := a.shipper.Tail(); n != 0 {
		t.Errorf("the tail has %d records after the store was back", n)
	}
	a.sign()
	if got := b.names(audit.Filter{}); !slices.Equal(got, want) {
		t.Errorf("another node reads %q", got)
	}
	if r := b.verify()[0]; !r.OK() || r.Proven != 30 {
		t.Errorf("%+v", r)
	}
}

// TestShippingIsPaced: one look takes no more than the rate lets through, and large logs become parts of bounded size.
func TestShippingIsPaced(t *testing.T) {
	w := testWorld(t)
	a := w.join("a")
	a.shipper.Rate, a.shipper.Every = 100<<10, 3*time.Second
	const records = 9000
	for i := range records {
		a.read(i)
	}
	first, err := a.shipper.Ship(w.ctx)
	w.must(err)
	if first < 300<<10 || first > 300<<10+2*maxPart {
		t.Errorf("one look shipped %d bytes at a rate of %d in %s", first, a.shipper.Rate, a.shipper.Every)
	}
	if n, since := a.shipper.Tail(); n == 0 || since.After(w.clock.Now()) {
		t.Errorf("the tail has %d records since %v", n, since)
	}
	for n := int64(1); n > 0; n, _ = a.shipper.Tail() {
		a.ship()
	}
	w.must(w.store.View(w.ctx, func(tx store.Tx) error {
		parts, err := tx.AuditParts(w.ctx, store.AuditPartQuery{Origin: a.entry.Origin})
		next := int64(0)
		for _, p := range parts {
			raw, err := inflate(p.Data)
			if err != nil || len(raw) > maxPart+1024 || p.Base != next {
				t.Errorf("part %d has %d bytes: %v", p.Base, len(raw), err)
			}
			if len(p.Data) >= len(raw) {
				t.Errorf("part %d was not compressed: %d bytes of %d", p.Base, len(p.Data), len(raw))
			}
			next = p.Next
		}
		if next != records {
			t.Errorf("the parts end at record %d", next)
		}
		return err
	}))
}

// TestTwoProcessesOfOneLog: a process whose log the store knows otherwise ships and signs nothing.
func TestTwoProcessesOfOneLog(t *testing.T) {
	w := testWorld(t)
	a := w.join("a")
	for i := range 5 {
		a.read(i)
	}
	a.sign()
	a.ship()
	copied := &node{world: w, id: "a", dir: t.TempDir(), entry: a.entry, live: true}
	signer, public := key(t, a.entry.Origin)
	entry := *a.entry
	entry.Key = public
	copied.entry = &entry
	copied.open(signer)
	t.Cleanup(copied.log.Stop)
	copied.read(9)
	if _, err := copied.shipper.Ship(w.ctx); !setBackErr(err) {
		t.Errorf("a log that is behind what was shipped ships: %v", err)
	}
	for i := range 9 {
		copied.read(10 + i)
	}
	if err := Continues(w.ctx, copied.log, a.fresh()); !setBackErr(err) {
		t.Errorf("a log with other records continues this one: %v", err)
	}
	if err := Continues(w.ctx, a.log, a.fresh()); err != nil {
		t.Errorf("the log itself: %v", err)
	}
}

func setBackErr(err error) bool { e := fault.As(err); return e != nil && e.Reason == SetBack }

// TestCheckpointsInTheStore: the newest is there, one of each KeepEvery besides, and one that does not continue the newest is refused.
func TestCheckpointsInTheStore(t *testing.T) {
	w := testWorld(t)
	a := w.join("a")
	var first []byte
	for i := range 4 {
		a.read(i)
		signed := a.sign()
		if i == 0 {
			first = signed
		}
		w.clock.Advance(KeepEvery/2 + time.Second)
	}
	var kept []*store.AuditCheckpoint
	w.must(w.store.View(w.ctx, func(tx store.Tx) (err error) {
		kept, err = tx.AuditCheckpoints(w.ctx, a.entry.Origin)
		return err
	}))
	if len(kept) != 2 || kept[0].Size != 1 || kept[1].Size != 3 || a.fresh().Size != 4 {
		t.Errorf("kept are %d checkpoints, the newest covers %d", len(kept), a.fresh().Size)
	}
	if err := a.shipper.Checkpoint(w.ctx, first); !setBackErr(err) {
		t.Errorf("an older checkpoint was taken: %v", err)
	}
	if split := SplitCheckpoints(slices.Concat(first, a.fresh().Checkpoint, first)); len(split) != 3 || !bytes.Equal(split[1], a.fresh().Checkpoint) {
		t.Errorf("three checkpoints are taken apart to %q", split)
	}
}

// TestSinks copies checkpoints to a directory and to a server.
func TestSinks(t *testing.T) {
	w := testWorld(t)
	a := w.join("a")
	dir, got := t.TempDir(), map[string]string{}
	fail := false
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if fail || r.Method != http.MethodPut {
			http.Error(rw, "no", http.StatusForbidden)
			return
		}
		got[r.URL.Path] = string(body)
	}))
	defer server.Close()
	now := clock.NewManual(noon)
	toDir, err := NewSink(dir, now)
	w.must(err)
	toServer, err := NewSink(server.URL+"/audit", now)
	w.must(err)
	var signed [][]byte
	for i := range 3 {
		a.read(i)
		signed = append(signed, a.sign())
		w.must(toDir(w.ctx, signed[i]))
		w.must(toServer(w.ctx, signed[i]))
		now.Advance(KeepEvery/2 + time.Second)
	}
	for name, want := range map[string][]byte{"a.checkpoint": signed[2], "a-1.checkpoint": signed[0], "a-3.checkpoint": signed[2]} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(b, want) {
			t.Errorf("the directory has %q as %s: %v", b, name, err)
		}
		if got["/audit/"+name] != string(want) {
			t.Errorf("the server has %q as %s", got["/audit/"+name], name)
		}
	}
	if len(got) != 3 {
		t.Errorf("the server has %d files", len(got))
	}
	// What is kept stays, whoever signs another one of its size.
	again, err := NewSink(dir, now)
	w.must(err)
	w.must(again(w.ctx, signed[2]))
	fork, err := NewSink(dir, now)
	w.must(err)
	forked := bytes.Replace(signed[2], []byte("\n\n"), []byte("\nx\n\n"), 1)
	if err := fork(w.ctx, forked); err == nil || !strings.Contains(err.Error(), "two ways") {
		t.Errorf("another checkpoint of the same size was kept: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a-3.checkpoint")); err != nil || !bytes.Equal(b, signed[2]) {
		t.Errorf("the checkpoint that was kept is %q now: %v", b, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 3 {
		t.Errorf("the directory has %d files", len(files))
	}
	fail = true
	if err := toServer(w.ctx, signed[2]); err == nil {
		t.Error("a refusal passed for a copy")
	}
	for _, place := range []string{"", "relative", "http://192.0.2.1/", "ftp://127.0.0.1/", "https://", filepath.Join(dir, "missing")} {
		sink, err := NewSink(place, now)
		if err == nil {
			err = sink(w.ctx, signed[0])
		}
		if err == nil {
			t.Errorf("%q was taken as a place", place)
		}
	}
}

func FuzzPart(f *testing.F) {
	w := &partWriter{}
	frame := append([]byte{1, 0}, make([]byte, 25)...)
	for i := range 3 {
		w.add(audit.Leaf{Index: int64(i), Time: noon, Frame: binary.BigEndian.AppendUint32(frame[:len(frame):len(frame)], uint32(i))})
	}
	p, err := w.finish("o")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Data, int64(0), int64(3))
	f.Add([]byte{}, int64(0), int64(0))
	f.Fuzz(func(t *testing.T, data []byte, base, next int64) {
		n := base
		err := leaves(&store.AuditPart{Origin: "o", Base: base, Next: next, Data: data}, func(l audit.Leaf) error {
			if l.Index != n {
				t.Fatalf("record %d came as %d", n, l.Index)
			}
			n++
			return nil
		})
		if err == nil && n != next {
			t.Errorf("%d records of %d passed for a part", n-base, next-base)
		}
	})
}

func FuzzSplitCheckpoints(f *testing.F) {
	f.Add([]byte("o\n1\nroot\n\n\u2014 k sig\no\n2\nroot\n\n\u2014 k sig\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if all := bytes.Join(SplitCheckpoints(text), nil); !bytes.HasPrefix(text, all) || len(bytes.TrimSpace(text[len(all):])) > 0 {
			t.Errorf("%q was taken apart to %q", text, all)
		}
	})
}
