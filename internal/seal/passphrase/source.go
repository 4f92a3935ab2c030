package passphrase

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/internal/fault"
)

// MinBytes is the shortest passphrase that wraps; MaxBytes the longest that is read.
const (
	MinBytes = 12
	MaxBytes = 4096
)

// Source gives the passphrase each time it is needed. The seal zeroes what it got.
type Source func(ctx context.Context) ([]byte, error)

// FromFile reads the passphrase from a file whenever it is needed, without one line break at its end. The file must be
// readable by its owner alone.
func FromFile(path string) Source {
	return func(context.Context) ([]byte, error) {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if errors.Is(err, syscall.ELOOP) {
			return nil, fault.New(fault.Invalid, "the passphrase file %s is a symbolic link: name the file itself", path)
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || !ok || int(owner.Uid) != os.Geteuid() {
			return nil, fault.New(fault.Invalid, "the passphrase file %s is not a file that only this user can read (mode %04o): run chown %d and chmod 0600 on it",
				path, info.Mode().Perm(), os.Geteuid())
		}
		return readLine(f)
	}
}

// FromReader reads the passphrase once, when it is needed first, and keeps it in memory for later: for standard input or a
// pipe that another program fills.
func FromReader(r io.Reader) Source {
	var mu sync.Mutex
	var kept []byte
	return func(context.Context) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if kept == nil {
			line, err := readLine(r)
			if err != nil {
				return nil, err
			}
			kept = line
		}
		return bytes.Clone(kept), nil
	}
}

func readLine(r io.Reader) ([]byte, error) {
	b := make([]byte, MaxBytes+1)
	defer clear(b)
	n, err := io.ReadFull(r, b)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n > MaxBytes {
		return nil, fault.New(fault.Invalid, "the passphrase is longer than %d bytes: use a shorter one", MaxBytes)
	}
	return bytes.Clone(bytes.TrimSuffix(bytes.TrimSuffix(b[:n], []byte("\n")), []byte("\r"))), nil
}
