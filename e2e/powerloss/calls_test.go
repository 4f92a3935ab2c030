package powerloss_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/e2e/powerloss"
	"github.com/keywright/keywright/e2e/workload"
)

// callsWorkload makes every call that the recorder knows, once, in a fixed order.
func callsWorkload(run *workload.Run) error {
	at := func(name string) string { return filepath.Join(run.Dir, name) }
	file, err := os.OpenFile(at("a"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString("hello, world")
	err = errors.Join(err,
		file.Truncate(5),
		unix.Fallocate(int(file.Fd()), 0, 0, 8192),
		unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_ZERO_RANGE, 4, 100),
		file.Sync(),
		os.Mkdir(at("d"), 0o700),
		os.Rename(at("a"), at("d/b")),
		os.Link(at("d/b"), at("c")),
		syncDir(at("d")),
		syncDir(run.Dir),
		os.Remove(at("c")),
		os.Mkdir(at("e"), 0o700),
		os.Remove(at("e")),
		mapped(file),
		run.Ack("done"),
	)
	if err != nil {
		return err
	}
	return readBack(at("d/b"))
}

// mapped stores through a shared mapping and syncs it.
func mapped(file *os.File) error {
	page, err := unix.Mmap(int(file.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(page[100:], "mapped")
	return errors.Join(unix.Msync(page, unix.MS_SYNC), unix.Munmap(page))
}

// readBack proves that the mount is a file system, not just a recorder.
func readBack(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(data) != 8192 || !bytes.HasPrefix(data, []byte("hell\x00\x00")) || string(data[100:106]) != "mapped" {
		return fmt.Errorf("%s reads %d bytes: %q", path, len(data), data[:min(len(data), 128)])
	}
	return nil
}

func TestEveryCallIsRecordedInOrder(t *testing.T) {
	log := powerloss.Record(t, "calls", "", powerloss.Config{})
	var got []powerloss.Kind
	for _, op := range log.Ops {
		got = append(got, op.Kind)
	}
	want := []powerloss.Kind{powerloss.Create, powerloss.Write, powerloss.Truncate, powerloss.Allocate, powerloss.Zero,
		powerloss.Sync, powerloss.Mkdir, powerloss.Rename, powerloss.Link, powerloss.SyncDir, powerloss.SyncDir, powerloss.Unlink,
		powerloss.Mkdir, powerloss.Rmdir, powerloss.Write, powerloss.Sync, powerloss.Acknowledge}
	if !slices.Equal(got, want) {
		t.Errorf("recorded %v,\nwant %v", got, want)
	}
	if len(log.Acks) != 1 || log.Acks[0].Text != "done" {
		t.Errorf("acknowledgements %v", log.Acks)
	}
}
