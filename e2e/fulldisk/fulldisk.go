// Package fulldisk gives tests a small file system that they can fill up.
//
// It is an ext4 in a file, mounted through a loop device: the file system that most installations have, with its
// delayed allocation, its reserved blocks and its journal. Where the machine has no loop devices it is a tmpfs, which
// differs in one useful way: its last write is short instead of failing whole.
//
// The mounts live in the test process's own mount namespace (machine.Private in TestMain) and vanish with it.
package fulldisk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/e2e/machine"
)

// Disk is a mounted file system of a few megabytes.
type Disk struct {
	// Dir is its root directory.
	Dir    string
	filler string
}

// Ext4 mounts an empty ext4 of the size, in MiB, until the test ends. A journal needs at least 8.
func Ext4(t testing.TB, megabytes int) *Disk {
	t.Helper()
	machine.Require(t, machine.Root, machine.Loop)
	image := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, int64(megabytes)<<20); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run(t, "mkfs.ext4", "-q", "-m", "0", image)
	run(t, "mount", "-o", "loop", image, dir)
	return open(t, dir)
}

// Tmpfs mounts an empty tmpfs of the size, in MiB, until the test ends.
func Tmpfs(t testing.TB, megabytes int) *Disk {
	t.Helper()
	machine.Require(t, machine.Root)
	dir := t.TempDir()
	if err := unix.Mount("fulldisk", dir, "tmpfs", 0, fmt.Sprintf("mode=0700,size=%dm", megabytes)); err != nil {
		t.Fatalf("mounting a tmpfs: %v", err)
	}
	return open(t, dir)
}

func open(t testing.TB, dir string) *Disk {
	d := &Disk{Dir: dir, filler: filepath.Join(dir, "filler")}
	t.Cleanup(func() {
		if err := unmount(dir); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	return d
}

// unmount retries for a while: a process that is being forked elsewhere keeps the mount busy for milliseconds.
func unmount(dir string) error {
	var err error
	for range 100 {
		if err = unix.Unmount(dir, 0); !errors.Is(err, unix.EBUSY) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// Fill takes all the space that is left, to the last block.
func (d *Disk) Fill() error {
	file, err := os.OpenFile(d.filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	for size := 1 << 20; size > 0; {
		n, err := file.Write(make([]byte, size))
		switch {
		case errors.Is(err, syscall.ENOSPC) && n == 0:
			size /= 2
		case err != nil && !errors.Is(err, syscall.ENOSPC):
			return err
		}
	}
	// Delayed allocation has to find out now that there is nothing left for others.
	return file.Sync()
}

// Free gives back what Fill took.
func (d *Disk) Free() error {
	// Truncating first frees the blocks at once, though a reader might still hold the file open.
	return errors.Join(os.Truncate(d.filler, 0), os.Remove(d.filler))
}
