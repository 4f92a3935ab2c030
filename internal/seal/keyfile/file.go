package keyfile

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/internal/fault"
)

const (
	idBytes  = 16
	keyBytes = 32
)

// The lines of a key file; see the package comment.
const (
	head    = "keywright-seal-key 1\nid "
	keyMark = "\nkey "
	sumMark = "\nsum "
	sumAt   = len(head) + 2*idBytes + len(keyMark) + 2*keyBytes + 1
	size    = sumAt + len(sumMark) - 1 + 2*sha256.Size + 1
)

// Create makes a key file with a fresh key. It never replaces a file: one that is there already is a fault.Conflict. When
// it returns, the file and its name survive a power loss.
func Create(path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fault.New(fault.Conflict, "the key file %s exists already and was left as it is: use it, or choose another name", path)
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the key file %s could not be made: check that its directory exists and can be written", path)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(path)
		}
	}()
	var id [idBytes]byte
	var key [keyBytes]byte
	rand.Read(id[:])
	rand.Read(key[:])
	text := format(id, &key)
	clear(key[:])
	defer clear(text)
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return fault.Wrap(err, fault.Unavailable, "the key file %s could not be written to disk: check the space and health of the disk", path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// read returns the id and key of a file after checking that nobody else can read or replace it.
func read(path string) (id [idBytes]byte, key [keyBytes]byte, err error) {
	// O_NOFOLLOW: a link could be pointed elsewhere by whoever owns it. O_NONBLOCK: opening a pipe must not hang.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return id, key, fault.New(fault.Invalid, "the key file %s is a symbolic link: name the file itself", path)
	}
	if err != nil {
		return id, key, fault.Wrap(err, fault.Unavailable, "the key file %s could not be opened: check that it is there and that this user may read it", path)
	}
	defer f.Close()
	if err := checkPrivate(f, path); err != nil {
		return id, key, err
	}
	text := make([]byte, size+1)
	defer clear(text)
	n, err := io.ReadFull(f, text)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return id, key, fault.Wrap(err, fault.Unavailable, "the key file %s could not be read: check the disk", path)
	}
	id, key, err = parse(text[:n])
	if err != nil {
		return id, key, fault.Wrap(err, fault.Invalid, "%s is not an undamaged key file: restore it from its copy", path)
	}
	return id, key, nil
}

// checkPrivate looks at the open file, not at its name, which may mean another file a moment later.
func checkPrivate(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the key file %s could not be examined", path)
	}
	if !info.Mode().IsRegular() {
		return fault.New(fault.Invalid, "the key file %s is not a regular file: name a file made for this seal", path)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fault.New(fault.Invalid, "the owner of the key file %s is not known here: put it on a file system of this machine", path)
	}
	if usable(info.Mode().Perm(), int(owner.Uid), os.Geteuid()) {
		return fault.New(fault.Invalid, "the key file %s can be used by others (mode %04o): run chmod 0600 on it, and change the key if somebody may have read it",
			path, info.Mode().Perm())
	}
	if uid := int(owner.Uid); uid != os.Geteuid() && uid != superuser {
		return fault.New(fault.Invalid, "the key file %s belongs to another user: run chown to give it to user id %d, who runs this program", path, os.Geteuid())
	}
	return nil
}

const superuser = 0

// usable reports whether others than the user and the superuser can use a file. A file of the superuser may be read by a group: services get secrets so that they can
// read and not change, such as the volumes of Kubernetes, whose group is the service's own.
func usable(mode os.FileMode, owner, user int) bool {
	if owner == superuser && user != superuser {
		return mode&0o037 != 0
	}
	return mode&0o077 != 0
}

func format(id [idBytes]byte, key *[keyBytes]byte) []byte {
	b := make([]byte, 0, size)
	b = append(b, head...)
	b = hex.AppendEncode(b, id[:])
	b = append(b, keyMark...)
	b = hex.AppendEncode(b, key[:])
	b = append(b, '\n')
	sum := sha256.Sum256(b)
	b = append(b, sumMark[1:]...)
	b = hex.AppendEncode(b, sum[:])
	return append(b, '\n')
}

// parse accepts exactly what format writes.
func parse(text []byte) (id [idBytes]byte, key [keyBytes]byte, err error) {
	if len(text) != size {
		return id, key, fmt.Errorf("it should have %d bytes", size)
	}
	if !bytes.HasPrefix(text, []byte(head)) {
		return id, key, errors.New("its first line is not that of a key file of version 1")
	}
	_, idErr := hex.Decode(id[:], text[len(head):][:2*idBytes])
	_, keyErr := hex.Decode(key[:], text[sumAt-1-2*keyBytes:][:2*keyBytes])
	again := format(id, &key)
	defer clear(again)
	if idErr != nil || keyErr != nil || subtle.ConstantTimeCompare(again, text) != 1 {
		clear(key[:])
		return [idBytes]byte{}, key, errors.New("its checksum or form is wrong")
	}
	return id, key, nil
}
