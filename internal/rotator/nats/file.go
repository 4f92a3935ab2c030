package nats

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/internal/rotator"
)

// maxFileBytes bounds a users file.
const maxFileBytes = 16 << 20

// lock takes the lock of a users file for one verb: flock(2) on a file beside it, because the file itself is replaced. It waits as long as the context lasts.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fileError(err, "locking %s", path)
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil // closing gives the lock back
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = file.Close()
			return nil, fileError(err, "locking %s", path)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, rotator.Fail(rotator.Busy, ctx.Err(), "another change of %s is under way", path)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// read reads a users file.
func read(path string) (*users, []byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fileError(err, "reading %s", path)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileBytes {
		return nil, nil, rotator.Fail(rotator.Misconfigured, nil, "%s is no file, or larger than %d MiB", path, maxFileBytes>>20)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fileError(err, "reading %s", path)
	}
	f, err := parseUsers(text)
	if err != nil {
		return nil, nil, rotator.Fail(rotator.Misconfigured, err, "the users file %s cannot be changed", path)
	}
	return f, text, nil
}

// replace writes text over the file in one step, with the mode and the owner that it had. After an error the file is as it was, or replaced.
func replace(path string, text []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // it is gone when all went well
	_, err = temporary.Write(text)
	if err == nil {
		err = temporary.Chmod(info.Mode().Perm())
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && err == nil && int(owner.Uid) != os.Geteuid() {
		err = temporary.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// fileError says what a failure before any effect means.
func fileError(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return rotator.Fail(rotator.Denied, err, "%s: this process may not", what)
	case errors.Is(err, fs.ErrNotExist):
		return rotator.Fail(rotator.Misconfigured, err, "%s: it is not there", what)
	}
	return rotator.Fail(rotator.NotApplied, err, "%s failed", what)
}
