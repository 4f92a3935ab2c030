package keyfile

import (
	"bytes"
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/sealtest"
)

func create(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seal.key")
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, files ...string) *Seal {
	t.Helper()
	s, err := New(Config{Files: files})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	path := create(t)
	sealtest.Run(t, sealtest.Maker{
		Reopen: func(t *testing.T) seal.Seal { return open(t, path) },
		Other:  func(t *testing.T) seal.Seal { return open(t, create(t)) },
	})
}

func TestRotation(t *testing.T) {
	ctx := context.Background()
	old, fresh := create(t), create(t)
	wrapped, err := open(t, old).Wrap(ctx, []byte("root"), nil)
	if err != nil {
		t.Fatal(err)
	}
	both := open(t, fresh, old)
	if got, err := both.Unwrap(ctx, wrapped, nil); err != nil || string(got) != "root" {
		t.Errorf("the older file does not unwrap: %v", err)
	}
	again, err := both.Wrap(ctx, []byte("root"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, fresh).Unwrap(ctx, again, nil); err != nil {
		t.Errorf("the newest file does not wrap: %v", err)
	}
	if _, err := open(t, fresh).Unwrap(ctx, wrapped, nil); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "add that file") {
		t.Errorf("without the older file: %v", err)
	}
}

func TestCreate(t *testing.T) {
	path := create(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := Create(path); !fault.Is(err, fault.Conflict) {
		t.Errorf("creating it again: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	if err := Create(filepath.Join(path, "below")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("below a file: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	if err := Create(link); err == nil {
		t.Error("created through a symbolic link")
	}
}

func TestRefusals(t *testing.T) {
	good := create(t)
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	write := func(t *testing.T, b []byte, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "k")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name string
		path func(t *testing.T) string
		kind fault.Kind
		says string
	}{
		{"readable by the group", func(t *testing.T) string { return write(t, text, 0o640) }, fault.Invalid, "chmod 0600"},
		{"readable by all", func(t *testing.T) string { return write(t, text, 0o604) }, fault.Invalid, "chmod 0600"},
		{"missing", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }, fault.Unavailable, "check that it is there"},
		{"symbolic link", func(t *testing.T) string {
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(good, link); err != nil {
				t.Fatal(err)
			}
			return link
		}, fault.Invalid, "symbolic link"},
		{"directory", func(t *testing.T) string { return t.TempDir() }, fault.Invalid, "not a regular file"},
		{"empty", func(t *testing.T) string { return write(t, nil, 0o600) }, fault.Invalid, "restore it"},
		{"cut", func(t *testing.T) string { return write(t, text[:len(text)-1], 0o600) }, fault.Invalid, "restore it"},
		{"longer", func(t *testing.T) string { return write(t, append(bytes.Clone(text), '\n'), 0o600) }, fault.Invalid, "restore it"},
		{"damaged", func(t *testing.T) string {
			b := bytes.Clone(text)
			b[len(head)+2*idBytes+len(keyMark)+3] ^= 1
			return write(t, b, 0o600)
		}, fault.Invalid, "restore it"},
		{"foreign", func(t *testing.T) string {
			if os.Geteuid() != 0 {
				return "" // only the superuser can give files away
			}
			path := write(t, text, 0o600)
			if err := os.Chown(path, 12345, 12345); err != nil {
				t.Fatal(err)
			}
			return path
		}, fault.Invalid, "chown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.path(t)
			if path == "" {
				if os.Getenv("CI") == "true" {
					t.Fatal("this case needs the superuser")
				}
				t.Skip("this case needs the superuser")
			}
			_, err := New(Config{Files: []string{path}})
			if !fault.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), filepath.Base(path)) {
				t.Errorf("New: %v; want a fault.%v that says %q", err, tt.kind, tt.says)
			}
			if err != nil && strings.Contains(err.Error(), string(text[len(head)+2*idBytes+len(keyMark)+8:][:40])) {
				t.Error("the error shows the key")
			}
		})
	}
	if _, err := New(Config{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("no files: %v", err)
	}
	if _, err := New(Config{Files: []string{good, good}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("the same file twice: %v", err)
	}
}

// The text is stored format.
func TestFormatKnownAnswer(t *testing.T) {
	var id [idBytes]byte
	var key [keyBytes]byte
	for i := range key {
		key[i] = byte(i)
	}
	copy(id[:], bytes.Repeat([]byte{0xab}, idBytes))
	want := "keywright-seal-key 1\nid " + strings.Repeat("ab", 16) + "\nkey " + hex.EncodeToString(key[:]) +
		"\nsum dc6f8b879e74cdccdabe747d90d1426e4f50f07fa5ed02fc9dd76ea50b06c67c\n"
	if got := string(format(id, &key)); got != want {
		t.Errorf("format = %q", got)
	}
}

func FuzzParse(f *testing.F) {
	var key [keyBytes]byte
	f.Add(format([idBytes]byte{1}, &key))
	f.Add([]byte(head))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, key, err := parse(text)
		if err != nil {
			if id != ([idBytes]byte{}) || key != ([keyBytes]byte{}) {
				t.Error("an error came with a key")
			}
			return
		}
		if !bytes.Equal(format(id, &key), text) {
			t.Errorf("%q does not come back", text)
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	ctx := context.Background()
	s := open(f, create(f))
	wrapped, err := s.Wrap(ctx, []byte("root"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wrapped)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := s.Unwrap(ctx, b, nil)
		if (err == nil) != bytes.Equal(b, wrapped) || err != nil && (got != nil || !fault.Is(err, fault.Invalid)) {
			t.Errorf("Unwrap = %q, %v", got, err)
		}
	})
}

func TestFilesOfTheSuperuserMayHaveAGroup(t *testing.T) {
	for _, c := range []struct {
		mode        os.FileMode
		owner, user int
		want        bool
	}{
		{0o600, 1000, 1000, false}, {0o400, 1000, 1000, false}, {0o640, 1000, 1000, true}, {0o604, 1000, 1000, true},
		{0o400, 0, 1000, false}, {0o440, 0, 1000, false}, {0o640, 0, 1000, false}, {0o460, 0, 1000, true}, {0o444, 0, 1000, true}, {0o450, 0, 1000, true},
		{0o600, 0, 0, false}, {0o640, 0, 0, true},
	} {
		if got := usable(c.mode, c.owner, c.user); got != c.want {
			t.Errorf("mode %04o of %d is usable by others than %d: %v", c.mode, c.owner, c.user, got)
		}
	}
}
