package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxFileBytes bounds a configuration: far more than all keys there are.
const maxFileBytes = 1 << 20

// Load reads a file, fills in the defaults and checks everything that can be known without starting, the permissions of the files it names included.
// An error is *Problems with all mistakes, unless the file itself cannot be read.
func Load(path string) (*File, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f, d := parse(text, filepath.Dir(abs))
	d.files(reflect.ValueOf(f).Elem(), "", "")
	if len(d.problems) > 0 {
		p := &Problems{File: path, List: d.problems}
		p.sort()
		return nil, p
	}
	return f, nil
}

// Parse reads the text of a file without looking at any other. Relative paths start at dir.
func Parse(text []byte, dir string) (*File, []Problem) {
	f, d := parse(text, dir)
	if len(d.problems) > 0 {
		p := &Problems{List: d.problems}
		p.sort()
		return nil, p.List
	}
	return f, nil
}

func parse(text []byte, dir string) (*File, *decoder) {
	d := &decoder{dir: dir, lines: map[string]int{}}
	f := new(File)
	d.document(text, f)
	if len(d.lines) > 0 {
		d.check(f)
	}
	return f, d
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration %s: name another with --config, or begin with deploy/keywright.yaml of the release", path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration %s: %w", path, err)
	}
	if len(text) > maxFileBytes {
		return nil, fmt.Errorf("the configuration %s has more than %d bytes: name the right file", path, maxFileBytes)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o002 != 0 {
		return nil, fmt.Errorf("everybody may write the configuration %s, and with it what the server runs and reads: run chmod o-w on it", path)
	}
	return text, err
}

// files looks at every secret file that is named, and at the other files that a start needs. A key file of the seal may be missing: init makes it.
func (d *decoder) files(v reflect.Value, key string, tag reflect.StructTag) {
	switch {
	case v.Type() == reflect.TypeFor[SecretFile]():
		if v.String() == "" {
			return
		}
		err := CheckSecretFile(v.String())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.wrong(key, "%s", err)
		} else if err != nil && !made(key) {
			d.wrong(key, absent, v.String())
		}
	case v.Type() == reflect.TypeFor[Path]():
		if v.String() == "" || tag.Get("needed") == "" {
			return
		}
		if info, err := os.Stat(v.String()); errors.Is(err, fs.ErrNotExist) {
			d.wrong(key, absent, v.String())
		} else if err != nil {
			d.wrong(key, "the file %s cannot be looked at: check that this user may enter its directory", v.String())
		} else if !info.Mode().IsRegular() {
			d.wrong(key, "%s is not a file: name one", v.String())
		}
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() {
			d.files(v.Elem(), key, tag)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			d.files(v.Index(i), key+"["+strconv.Itoa(i)+"]", tag)
		}
	case v.Kind() == reflect.Struct && scalars[v.Type()] == nil:
		for _, f := range fieldsOf(v.Type()) {
			d.files(v.Field(f.index), join(key, f.name), f.tag)
		}
	}
}

// absent is what is told of a file that a start needs.
const absent = "the file %s does not exist: make it, or correct the path"

// made reports whether init makes the file that a key names.
func made(key string) bool { return key == "seal.keyFiles[0]" }

// CheckSecretFile says what is wrong with the permissions of a file that holds a secret: it is a regular file of this user or of root, others can neither read nor
// write it, and a group cannot write it. A group may read it, as services that share a certificate and volumes of Kubernetes need it. A link is followed.
func CheckSecretFile(path string) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// ReadSecretFile reads such a file, of at most so many bytes.
func ReadSecretFile(path string, most int64) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("the file %s has more than %d bytes: name the right file", path, most)
	}
	return text, nil
}

// open looks at the open file, not at its name, which may mean another file a moment later.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // opening a pipe must not hang
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = private(info, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func private(info os.FileInfo, path string) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return fmt.Errorf("%s is not a regular file: name a file", path)
	case mode.Perm()&0o007 != 0:
		return fmt.Errorf("others can use the file %s (mode %04o): run chmod 0600 on it, and replace the secret if somebody may have read it", path, mode.Perm())
	case mode.Perm()&0o020 != 0:
		return fmt.Errorf("a group can write the file %s (mode %04o): run chmod g-w on it", path, mode.Perm())
	case !ok || owner.Uid != 0 && int(owner.Uid) != os.Geteuid():
		return fmt.Errorf("the file %s belongs to another user: run chown %d on it", path, os.Geteuid())
	}
	return nil
}
