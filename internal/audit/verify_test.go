package audit

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit/disk/disktest"
	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/merkle"
)

// TestTampering changes a log of 400 records in several segments, with a checkpoint at 150 and one at 390, and expects
// to be told what and where.
func TestTampering(t *testing.T) {
	build := func(t *testing.T) (*disktest.FS, []byte) {
		d := disktest.New(1)
		l := mustOpen(t, testConfig(t, d))
		fill(t, l, 0, 150)
		if err := l.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		fill(t, l, 150, 390)
		if err := l.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.writeIndexes()
		external := l.LatestCheckpoint()
		fill(t, l, 390, 400)
		if err := l.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		return d, external
	}
	d, external := build(t)
	bases, err := segment.Bases(d)
	if err != nil || len(bases) < 4 {
		t.Fatalf("%d segments, %v: the table needs four", len(bases), err)
	}
	if report := verify(t, d, external); !report.OK() || report.Records != 400 || report.Proven != 390 || report.Checkpoints != 2 {
		t.Fatalf("the untouched log: %+v", report)
	}
	first, last := segment.Name(bases[0]), segment.Name(bases[len(bases)-1])
	flip := func(name string, at int) func(*disktest.FS) {
		return func(d *disktest.FS) {
			b := d.Bytes(name)
			b[at] ^= 1
			d.Put(name, b)
		}
	}
	cases := map[string]struct {
		tamper func(d *disktest.FS)
		file   string
		index  int64
		detail string
	}{
		"one byte of a body":      {flip(first, 300), first, 0, "checksum"},
		"one byte of a length":    {flip(first, segment.FirstOffset), first, 0, ""},
		"a segment's header":      {flip(first, 3), first, -1, "header"},
		"a tile of leaves":        {flip(tileName(0), 5*32), first, 5, "not the one whose hash is in tiles-00"},
		"a tile above":            {flip(tileName(1), 3), tileName(1), -1, "hash 0 is not that of tile 0"},
		"a checkpoint's text":     {flip(checkpointsName, 20), checkpointsName, -1, "checkpoint 0 is damaged"},
		"a time index":            {flip(indexName(0), 8), indexName(0), -1, "time index"},
		"a segment is removed":    {func(d *disktest.FS) { d.Put(segment.Name(bases[1]), nil) }, first, bases[1], "are missing"},
		"the end is cut off":      {func(d *disktest.FS) { d.Put(last, nil) }, "the checkpoint kept elsewhere", -2, "its end was cut off"},
		"the tiles are removed":   {func(d *disktest.FS) { d.Put(tileName(0), nil) }, tileName(0), 0, "the leaf is missing"},
		"checkpoints are removed": {func(d *disktest.FS) { d.Put(checkpointsName, nil) }, "", -2, ""},
		"a body is replaced, checksum and all": {func(d *disktest.FS) {
			rewriteSegment(t, d, bases[0], func(i int64, p []byte) []byte {
				if i == 7 {
					p[len(p)-1] ^= 1
				}
				return p
			})
		}, first, 7, "not the one whose hash"},
		"a record is removed": {func(d *disktest.FS) {
			rewriteSegment(t, d, bases[len(bases)-1], func(i int64, p []byte) []byte {
				if i == bases[len(bases)-1]+1 {
					return nil
				}
				return p
			})
		}, last, bases[len(bases)-1] + 1, "not the one whose hash"},
		"records and tiles agree on a lie": {func(d *disktest.FS) {
			var lie merkle.Hash
			rewriteSegment(t, d, bases[0], func(i int64, p []byte) []byte {
				if i == 7 {
					p[len(p)-1] ^= 1
					lie = merkle.LeafHash(p)
				}
				return p
			})
			b := d.Bytes(tileName(0))
			copy(b[7*32:], lie[:])
			d.Put(tileName(0), b)
		}, checkpointsName, 149, "the checkpoint of size 150 signs root"},
		"a record is damaged behind the checkpoint": {func(d *disktest.FS) {
			b := d.Bytes(last)
			offset := frameOffset(t, d, bases[len(bases)-1], 395)
			b[offset+20] ^= 1
			d.Put(last, b)
		}, last, 395, "whole records follow"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d, external := build(t)
			c.tamper(d)
			report := verify(t, d, external)
			if c.file == "" { // the checkpoint that was kept elsewhere still proves the records
				if !report.OK() || report.Proven != 390 || report.Checkpoints != 0 {
					t.Errorf("%+v", report)
				}
				return
			}
			for _, p := range report.Problems {
				if p.File == c.file && (p.Index == c.index || c.index == -2) && strings.Contains(p.Detail, c.detail) {
					return
				}
			}
			t.Errorf("want %s, record %d, %q; got:", c.file, c.index, c.detail)
			for _, p := range report.Problems {
				t.Log(p)
			}
		})
	}
}

// TestRollbackIsFoundByTheCheckpointKeptElsewhere puts the whole directory back to an older state, which is consistent
// in itself.
func TestRollbackIsFoundByTheCheckpointKeptElsewhere(t *testing.T) {
	d := disktest.New(1)
	l := mustOpen(t, testConfig(t, d))
	fill(t, l, 0, 50)
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := map[string][]byte{}
	names, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		old[name] = d.Bytes(name)
	}
	fill(t, l, 50, 90)
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	external := l.LatestCheckpoint()
	if names, err = d.List(); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		d.Put(name, nil)
	}
	for name, content := range old {
		d.Put(name, content)
	}
	if report := verify(t, d, nil); !report.OK() {
		t.Fatalf("the old state is not consistent in itself: %+v", report)
	}
	report := verify(t, d, external)
	if len(report.Problems) != 1 || !strings.Contains(report.Problems[0].String(), "covers 90 records and the log has 50") {
		t.Fatalf("%+v", report)
	}
}

func TestForeignCheckpointsProveNothing(t *testing.T) {
	d := disktest.New(1)
	l := mustOpen(t, testConfig(t, d))
	fill(t, l, 0, 5)
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	report, err := Verify(t.Context(), d, VerifyOptions{Origin: "another", Verifiers: note.VerifierList(testVerifier)})
	if err != nil || report.OK() || report.Proven != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	skey, _, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{9}, 64)), "node-1")
	if err != nil {
		t.Fatal(err)
	}
	thief, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := merkle.Checkpoint{Origin: testOrigin, Size: 5}.Sign(thief)
	if err != nil {
		t.Fatal(err)
	}
	if report := verify(t, d, forged); report.OK() {
		t.Fatal("a checkpoint of another key was taken")
	}
}

func TestOpenRefusesWhatVerifyWouldFind(t *testing.T) {
	cases := map[string]func(d *disktest.FS){
		"a damaged record": func(d *disktest.FS) {
			b := d.Bytes(segment.Name(0))
			b[300] ^= 1
			d.Put(segment.Name(0), b)
		},
		"a missing segment": func(d *disktest.FS) { d.Put(segment.Name(0), nil) },
		"damaged checkpoints": func(d *disktest.FS) {
			d.Put(checkpointsName, append(bytes.Repeat([]byte("x"), 9000), d.Bytes(checkpointsName)...))
		},
	}
	for name, tamper := range cases {
		t.Run(name, func(t *testing.T) {
			d := disktest.New(1)
			l := mustOpen(t, testConfig(t, d))
			fill(t, l, 0, 20)
			l.Stop()
			tamper(d)
			if l, err := Open(testConfig(t, d)); err == nil {
				l.Stop()
				t.Fatal("the log opened")
			}
		})
	}
}

// TestOpenRefusesALogWithoutItsBeginning removes the first segment before any checkpoint was signed: nothing but the name of the next
// one says that there was more.
func TestOpenRefusesALogWithoutItsBeginning(t *testing.T) {
	d := disktest.New(1)
	l := mustOpen(t, testConfig(t, d))
	fill(t, l, 0, 200)
	bases := l.seg.Bases()
	if len(bases) < 2 {
		t.Fatal("the log has one segment: the test needs two")
	}
	l.Stop()
	d.Put(segment.Name(0), nil)
	d.Put(checkpointsName, nil)
	_, err := Open(testConfig(t, d))
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("%v", err)
	}
}

func rewriteSegment(t *testing.T, d *disktest.FS, base int64, change func(int64, []byte) []byte) {
	t.Helper()
	name := segment.Name(base)
	content := d.Bytes(name)
	out := bytes.Clone(content[:segment.FirstOffset])
	_, _, err := segment.Scan(bytes.NewReader(content), segment.FirstOffset, base, 1<<40, func(f segment.Frame) error {
		if p := change(f.Index, bytes.Clone(f.Payload)); p != nil {
			out = segment.AppendFrame(out, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Put(name, append(out, make([]byte, len(content)-len(out))...))
}

func frameOffset(t *testing.T, d *disktest.FS, base, index int64) (offset int64) {
	t.Helper()
	_, offset, err := segment.Scan(bytes.NewReader(d.Bytes(segment.Name(base))), segment.FirstOffset, base, index, nil)
	if err != nil {
		t.Fatal(err)
	}
	return offset
}

// TestVerifyBesideAServer looks at the end of a log to which records are added meanwhile.
func TestVerifyBesideAServer(t *testing.T) {
	record := segment.AppendFrame(nil, []byte("a record that was added meanwhile"))
	late := bytes.Clone(record)
	clear(late[:8]) // its length and checksum are not there yet
	for _, c := range []struct {
		what    string
		behind  []byte
		after   []byte // what stands there 10 ms later
		problem bool
	}{
		{"nothing", nil, nil, false},
		{"a record", record, nil, false},
		{"two records", append(bytes.Clone(record), record...), nil, false},
		{"a record on its way", late, record, false},
		{"a record that stays on its way", late, nil, true},
		{"a record, and what is none", append(bytes.Clone(record), "\x00\x00\x00\x00\x00\x00\x00\x00damage"...), nil, true},
	} {
		d := disktest.New(1)
		f, err := d.Create("segment")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Allocate(4096); err != nil {
			t.Fatal(err)
		}
		write := func(b []byte) {
			if _, err := f.WriteAt(b, segment.FirstOffset); err != nil {
				t.Error(err)
			}
		}
		write(c.behind)
		var server sync.WaitGroup
		if c.after != nil {
			server.Go(func() {
				time.Sleep(10 * time.Millisecond)
				write(c.after)
			})
		}
		v := &verification{}
		if err := v.checkTail(f, "segment", segment.FirstOffset, false, nil); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		server.Wait()
		if got := len(v.report.Problems) > 0; got != c.problem {
			t.Errorf("%s: the problems are %v", c.what, v.report.Problems)
		}
	}
}
