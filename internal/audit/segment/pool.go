package segment

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/audit/disk"
	"github.com/keywright/keywright/internal/clock"
)

// pool keeps zero-filled files of one size in reserve.
type pool struct {
	d       disk.FS
	size    int64
	target  int
	backoff time.Duration // pause after a failed allocation
	clock   clock.Clock

	growing sync.Mutex // one allocation at a time
	stale   []string   // files of an earlier process, not yet zeroed

	mu     sync.Mutex
	names  []string
	warm   string // the one whose zeros are on the disk, not only promised
	serial int
	err    error // of the last allocation
	failed time.Time
}

// adopt notes the free files of an earlier process and removes unfinished ones. Any free file may hold what a power
// loss left of a segment whose renaming did not reach the disk, so each is zeroed before it is used.
func (p *pool) adopt(names []string) error {
	for _, name := range names {
		if strings.HasPrefix(name, "tmp-") {
			if err := p.d.Remove(name); err != nil {
				return fmt.Errorf("removing an unfinished file: %w", err)
			}
		}
		serial, found := strings.CutPrefix(name, "free-")
		n, err := strconv.Atoi(serial)
		if !found || err != nil {
			continue
		}
		p.serial = max(p.serial, n)
		p.stale = append(p.stale, name)
	}
	return nil
}

// reclaim zeroes one file of an earlier process; it returns "" when there was none that fits.
func (p *pool) reclaim() (string, error) {
	for len(p.stale) > 0 {
		name := p.stale[0]
		fits, err := p.clean(name)
		if err != nil {
			return "", err
		}
		p.stale = p.stale[1:]
		if fits {
			return name, nil
		}
		if err := p.d.Remove(name); err != nil {
			return "", fmt.Errorf("removing a reserve file of another size: %w", err)
		}
	}
	return "", nil
}

// clean zeroes a file, durably, and reports whether it has the size of this pool.
func (p *pool) clean(name string) (fits bool, err error) {
	f, err := p.d.Open(name)
	if err != nil {
		return false, fmt.Errorf("opening a reserve file: %w", err)
	}
	defer closing(f, &err)
	size, err := f.Size()
	if err != nil || size != p.size {
		return false, err
	}
	if err := f.Zero(0, size); err != nil {
		return false, fmt.Errorf("zeroing a reserve file: %w", err)
	}
	return true, f.Sync()
}

// take removes one file from the pool, or makes one. It does not try again for a while after a failure.
func (p *pool) take() (string, error) {
	if name := p.pop(); name != "" {
		return name, nil
	}
	p.mu.Lock()
	err := p.err
	wait := err != nil && p.clock.Now().Sub(p.failed) < p.backoff
	p.mu.Unlock()
	if wait {
		return "", err
	}
	if err := p.grow(1); err != nil {
		return "", err
	}
	if name := p.pop(); name != "" {
		return name, nil
	}
	return "", errors.New("the reserve was taken at once")
}

func (p *pool) pop() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.names) == 0 {
		return ""
	}
	name := p.names[0]
	p.names = p.names[1:]
	return name
}

// fill allocates files until the reserve is whole.
func (p *pool) fill() error { return p.grow(p.target) }

func (p *pool) grow(target int) error {
	p.growing.Lock()
	defer p.growing.Unlock()
	for p.count() < target {
		name, err := p.reclaim()
		if err == nil && name == "" {
			name, err = p.allocate()
		}
		p.mu.Lock()
		p.err = err
		if err != nil {
			p.failed = p.clock.Now()
			p.mu.Unlock()
			return err
		}
		p.names = append(p.names, name)
		p.mu.Unlock()
	}
	return nil
}

func (p *pool) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.names)
}

// allocate makes one file under a temporary name, so that a free file is always whole.
func (p *pool) allocate() (name string, err error) {
	p.mu.Lock()
	p.serial++
	serial := p.serial
	p.mu.Unlock()
	temporary := fmt.Sprintf("tmp-%d", serial)
	f, err := p.d.Create(temporary)
	if err != nil {
		return "", fmt.Errorf("creating a reserve file: %w", err)
	}
	err = errors.Join(allocateSynced(f, p.size), f.Close())
	if err != nil {
		_ = p.d.Remove(temporary) // best effort: the next opening removes it too
		return "", fmt.Errorf("allocating a reserve file of %d bytes: %w", p.size, err)
	}
	name = fmt.Sprintf("free-%d", serial)
	if err := p.d.Rename(temporary, name); err != nil {
		return "", fmt.Errorf("naming a reserve file: %w", err)
	}
	if err := p.d.SyncDir(); err != nil {
		return "", fmt.Errorf("syncing the directory: %w", err)
	}
	return name, nil
}

func allocateSynced(f disk.File, size int64) error {
	if err := f.Allocate(size); err != nil {
		return err
	}
	return f.Sync()
}

// heat writes the zeros of the next file, so that overwriting them later changes no metadata: a sync then costs half.
func (p *pool) heat() (err error) {
	p.growing.Lock()
	defer p.growing.Unlock()
	p.mu.Lock()
	if len(p.names) == 0 || p.names[0] == p.warm {
		p.mu.Unlock()
		return nil
	}
	name := p.names[0]
	p.names = p.names[1:] // nobody else may write to it meanwhile
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.names = append([]string{name}, p.names...)
		p.mu.Unlock()
	}()
	f, err := p.d.Open(name)
	if err != nil {
		return fmt.Errorf("opening a reserve file: %w", err)
	}
	defer closing(f, &err)
	if err := disk.WriteZeros(f, 0, p.size); err != nil {
		return err
	}
	p.warm = name
	return f.Sync()
}

// closing closes f and keeps the first error.
func closing(f disk.File, err *error) {
	if e := f.Close(); *err == nil {
		*err = e
	}
}
