package disk

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/keywright/keywright/internal/fault"
)

func TestDir(t *testing.T) {
	path := t.TempDir() + "/a/b"
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(path); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second owner: %v", err)
	}
	if _, err := d.Open("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	f, err := d.Create("x")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := d.Create("x"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second file of the name: %v", err)
	}
	if err := errors.Join(f.Allocate(1<<20), d.Rename("x", "y"), d.SyncDir()); err != nil {
		t.Fatal(err)
	}
	if names, err := d.List(); err != nil || len(names) != 1 || names[0] != "y" {
		t.Errorf("%v, %v", names, err)
	}
	reader, err := ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	g, err := reader.Open("y")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.WriteAt([]byte("x"), 0); err == nil {
		t.Error("a directory for reading was written to")
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if d, err = OpenDir(path); err != nil {
		t.Fatal("the lock was not given back:", err)
	}
	d.Close()
}

func TestZeroKeepsWhatIsOutside(t *testing.T) {
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	zero := map[string]func(f File, from, to int64) error{
		"by the file system": func(f File, from, to int64) error { return f.Zero(from, to) },
		"by hand":            zeroByHand,
	}
	for name, zero := range zero {
		f, err := d.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		content := bytes.Repeat([]byte("x"), 300_000)
		if _, err := f.WriteAt(content, 0); err != nil {
			t.Fatal(err)
		}
		if err := zero(f, 1000, 299_000); err != nil {
			t.Fatal(err)
		}
		clear(content[1000:299_000])
		got := make([]byte, len(content))
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMappingIsSeenByReaders(t *testing.T) {
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	f, err := d.Create("x")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Allocate(8192); err != nil {
		t.Fatal(err)
	}
	m, err := f.Map(8192)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Write([]byte("hello"), 5000), m.Sync(5000, 5005)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := f.ReadAt(got, 5000); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if m.Write([]byte("hello"), 8190) == nil || m.Write([]byte("x"), -1) == nil {
		t.Error("a write outside the mapping succeeded")
	}
	if err := f.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	if m.Write([]byte("x"), 5000) == nil {
		t.Error("a write to a page that is gone succeeded")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}
