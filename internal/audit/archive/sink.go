package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
// loop-back). Each copy replaces NODE.checkpoint there; every KeepEvery one is kept besides, as NODE-SIZE.checkpoint, which is never replaced.
func NewSink(place string, c clock.Clock) (audit.CheckpointSink, error) {
	s := &sink{clock: c}
	if filepath.IsAbs(place) {
		s.put = func(_ context.Context, name string, signed []byte) error {
			return putFile(filepath.Join(place, name), signed)
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
	return s.copy, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || host == "localhost"
}

type sink struct {
	clock clock.Clock
	put   func(ctx context.Context, name string, signed []byte) error

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
	if err := s.put(ctx, fmt.Sprintf("%s-%d.checkpoint", name, size), signed); err != nil {
		return err
	}
	s.kept = s.clock.Now()
	return nil
}

// putFile makes the file appear whole or not at all.
func putFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".checkpoint-*")
	if err != nil {
		return fmt.Errorf("copying a checkpoint of the audit log: %w", err)
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("copying a checkpoint of the audit log: %w", err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
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
