package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// cold puts a file out of the page cache.
func cold(t *testing.T, f *os.File) (size int64) {
	t.Helper()
	info, err := f.Stat()
	if err == nil {
		err = errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	}
	if err != nil {
		t.Fatal(err)
	}
	cached, err := cachedBytes(f, 0, info.Size())
	if err != nil || cached > info.Size()/2 {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the page cache cannot be looked at here: %d bytes, %v", cached, err)
		}
		t.Skipf("SKIPPED: the page cache cannot be looked at here: %d bytes, %v", cached, err)
	}
	return info.Size()
}

func TestPrewarm(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 5*prewarmChunk+prewarmChunk/2)); err != nil {
		t.Fatal(err)
	}
	size := cold(t, f)
	for _, step := range []struct {
		what   string
		room   int64
		reads  bool // the operating system reads ahead of that
		cached int64
	}{
		{"too little room", 2*size - 1, false, 0},
		{"room", 2 * size, true, size},
		{"warm already", 2 * size, false, size},
	} {
		read, err := prewarm(f, step.room, nil)
		if err != nil || (read > 0) != step.reads {
			t.Errorf("%s: read %d bytes: %v", step.what, read, err)
		}
		if cached, err := cachedBytes(f, 0, size); err != nil || cached < step.cached || step.cached == 0 && cached > size/2 {
			t.Errorf("%s: %d of %d bytes are in the page cache: %v", step.what, cached, size, err)
		}
	}
	if err := unix.Fadvise(int(f.Fd()), prewarmChunk, prewarmChunk, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if read, err := prewarm(f, 2*size, nil); err != nil || read != prewarmChunk {
		t.Errorf("a part that was taken back: read %d bytes: %v", read, err)
	}
	cold(t, f)
	stop := make(chan struct{})
	close(stop)
	if read, err := prewarm(f, 2*size, stop); err != nil || read > 2*prewarmChunk {
		t.Errorf("told to end, it read %d bytes: %v", read, err)
	}
}

// TestReadStoresAreWarm wants a store that is read to come into the page cache as a whole, and one that is not to stay as it is.
func TestReadStoresAreWarm(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	err = s.Update(t.Context(), store.NewOp(now), func(tx store.Tx) error {
		for n := range 200 {
			id := vault.ObjectID(fmt.Sprint("o", n))
			v := &vault.Version{Object: id, ID: "v", Attributes: vault.Attributes{Enabled: true, Created: now}, Value: vault.Envelope{Ciphertext: make([]byte, 20<<10)}}
			o := &vault.Object{ID: id, Vault: "v", Kind: vault.Secret, Name: string(id), Created: now}
			if err := errors.Join(tx.AddVersion(t.Context(), v), tx.PutObject(t.Context(), o.Promote(v.ID))); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	size := cold(t, s.checkpointer.file)
	warm := func() bool {
		cached, err := cachedBytes(s.checkpointer.file, 0, size)
		if err != nil {
			t.Fatal(err)
		}
		return cached > size/10*9
	}
	for end := time.Now().Add(prewarmInterval + time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if warm() {
			t.Fatal("a store that nobody reads was read ahead")
		}
	}
	for end := time.Now().Add(3 * prewarmInterval); !warm(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the store is cold although it is read")
		}
		err := s.View(t.Context(), func(tx store.Tx) error {
			_, err := tx.Object(t.Context(), "v", vault.Secret, "o7")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPageCacheRoom(t *testing.T) {
	if got := availableIn([]byte("MemTotal:       24683552 kB\nMemAvailable:   23552000 kB\nBuffers: 1 kB\n")); got != 23552000<<10 {
		t.Errorf("%d bytes are available", got)
	}
	for _, odd := range []string{"", "MemAvailable:\n", "MemAvailable: x kB\n", "MemFree: 5 kB\n"} {
		if got := availableIn([]byte(odd)); got != 0 {
			t.Errorf("%q: %d bytes are available", odd, got)
		}
	}
	if pageCacheRoom() <= 0 {
		t.Error("this machine has no memory")
	}
	root := t.TempDir()
	for path, limit := range map[string]string{"a": "max\n", "a/b": "500\n", "a/b/c": "900\n"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(root, path), 0o700), os.WriteFile(filepath.Join(root, path, "memory.max"), []byte(limit), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]int64{"/": 1000, "/a": 1000, "/a/b": 500, "/a/b/c": 500, "/a/b/c/d": 500, "": 1000, "/../x": 1000} {
		if got := limitOf(root, path, 1000); got != want {
			t.Errorf("%q may take %d bytes, want %d", path, got, want)
		}
	}
}
