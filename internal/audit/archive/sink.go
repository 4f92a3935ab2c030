package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/clock"
)

// sinkTimeout bounds one copy to a server that does not answer.
const sinkTimeout = 20 * time.Second

// NewSink returns a sink that copies checkpoints to a place outside: an absolute directory, or an https URL below which they are PUT (plain http is for
// loop-back). Each copy replaces NODE.checkpoint there; every KeepEvery one is kept besides, as NODE-SIZE.checkpoint, which in a directory is never replaced: a server has to
// see to that itself. One of the same size that says something else is an error.
func NewSink(place string, c clock.Clock) (audit.CheckpointSink, error) {
	s := &sink{clock: c}
	if filepath.IsAbs(place) {
		s.put = func(_ context.Context, name string, signed []byte) error {
			return putFile(filepath.Join(place, name), signed, os.Rename)
		}
		s.keep = func(_ context.Context, name string, signed []byte) error {
			return keepFile(filepath.Join(place, name), signed)
		}
		return s.copy, nil
	}
	u, err := url.Parse(place)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, fmt.Errorf("checkpoints cannot be copied to %q: name a directory by its absolute path, or an https URL", place)
	}
	client := &http.Client{Timeout: sinkTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	s.put = func(ctx context.Context, name string, signed []byte) error {
		return putURL(ctx, client, u.JoinPath(name), signed)
	}
	s.keep = s.put
	return s.copy, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || host == "localhost"
}

type sink struct {
	clock clock.Clock
	// put replaces a copy, keep makes one that stays.
	put, keep func(ctx context.Context, name string, signed []byte) error

	mu   sync.Mutex
	kept time.Time
}

// copy implements audit.CheckpointSink.
func (s *sink) copy(ctx context.Context, signed []byte) error {
	lines := strings.SplitN(string(signed), "\n", 3)
	size, err := strconv.ParseInt(lines[min(1, len(lines)-1)], 10, 64)
	if err != nil {
		return errors.New("the checkpoint has no size")
	}
	name := strings.NewReplacer("/", "_").Replace(strings.TrimPrefix(lines[0], OriginPrefix))
	if err := s.put(ctx, name+".checkpoint", signed); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.kept.IsZero() && s.clock.Now().Sub(s.kept) < KeepEvery {
		return nil
	}
	if err := s.keep(ctx, fmt.Sprintf("%s-%d.checkpoint", name, size), signed); err != nil {
		return err
	}
	s.kept = s.clock.Now()
	return nil
}

// keepFile makes the file appear, unless it is there: then it has to hold the same.
func keepFile(path string, content []byte) error {
	err := putFile(path, content, appearOnce)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	there, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("copying a checkpoint of the audit log: %w", err)
	}
	if !bytes.Equal(there, content) {
		return fmt.Errorf("the checkpoint of the audit log that was kept as %s is another one than this node signs now: the log was continued in two ways; find out who changed it", path)
	}
	return nil
}

// appearOnce gives a file a name that no other has. Where there are no links, it is looked for before.
func appearOnce(from, to string) error {
	err := os.Link(from, to)
	if !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}

// putFile makes the file appear under its name, by a rename or a link, whole or not at all, power loss included.
func putFile(path string, content []byte, appear func(from, to string) error) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".checkpoint-*")
	if err != nil {
		return fmt.Errorf("copying a checkpoint of the audit log: %w", err)
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("copying a checkpoint of the audit log: %w", err)
	}
	if err := appear(tmp.Name(), path); err != nil {
		return fmt.Errorf("copying a checkpoint of the audit log: %w", err)
	}
	d, err := os.Open(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return fmt.Errorf("copying a checkpoint of the audit log: %w", err)
	}
	return nil
}

func putURL(ctx context.Context, client *http.Client, u *url.URL, content []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), bytes.NewReader(content))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	answer, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("copying a checkpoint of the audit log: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection is used again
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("copying a checkpoint of the audit log to %s: the answer is %s", u.Redacted(), answer.Status)
	}
	return nil
}
