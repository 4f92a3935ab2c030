package powerloss

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a Check may find. It wraps one of them; any other error counts as damage too.
var (
	// ErrLost says that something acknowledged is gone.
	ErrLost = errors.New("acknowledged and lost")
	// ErrHalf says that something is there in part.
	ErrHalf = errors.New("half there")
)

// A Check opens what a crash left in dir, as a restart would, and compares it with what had been acknowledged. It may
// write to dir, runs concurrently with itself, and leaves nothing open.
type Check func(dir string, acked []Ack) error

// Campaign checks many crash states of one log.
type Campaign struct {
	Log    *Log
	Seed   uint64
	States int
	Check  Check
	// Stop, unless zero, ends the campaign once so many states have failed: enough for a control.
	Stop int
}

// Result counts what a campaign found.
type Result struct {
	States, Lost, Half, Damaged int
	// First holds the first failures, at most 5.
	First   []Failure
	Elapsed time.Duration
}

// Failure is a crash state that did not pass.
type Failure struct {
	Crash Crash
	Err   error
}

// Bad returns how many states did not pass.
func (r Result) Bad() int { return r.Lost + r.Half + r.Damaged }

// String gives counts, shares and the rate.
func (r Result) String() string {
	return fmt.Sprintf("%d states, %d lost something acknowledged (%.1f %%), %d half, %d damaged; %.0f states/min",
		r.States, r.Lost, 100*float64(r.Lost)/float64(max(1, r.States)), r.Half, r.Damaged,
		float64(r.States)/max(r.Elapsed.Minutes(), 1e-9))
}

const (
	workers = 2
	// roundStates is how many states share one pass over the log, and with it one outcome of every failed fsync.
	roundStates = 500
	// earlyStates is the same for a campaign that stops early; each pass covers the whole log.
	earlyStates = 20
)

// Run checks the states on a private tmpfs. It fails the test only if the harness itself does not work: the caller
// judges the result.
func (c Campaign) Run(t testing.TB) Result {
	t.Helper()
	disk := tmpfs(t)
	rounds, tally := make(chan int), &tally{}
	size := roundStates
	if c.Stop > 0 {
		size = earlyStates
	}
	go func() {
		defer close(rounds)
		for first := 0; first < c.States && (c.Stop == 0 || tally.bad() < c.Stop); first += size {
			rounds <- first
		}
	}()
	start := time.Now()
	var wait sync.WaitGroup
	for worker := range workers {
		wait.Go(func() {
			dir := filepath.Join(disk, strconv.Itoa(worker))
			for first := range rounds {
				if err := c.round(dir, uint64(first), min(size, c.States-first), tally); err != nil {
					t.Errorf("building crash states from %d on: %v", first, err)
				}
			}
		})
	}
	wait.Wait()
	tally.Elapsed = time.Since(start)
	return tally.Result
}

// round builds and checks n states in one pass over the log.
func (c Campaign) round(dir string, first uint64, n int, tally *tally) error {
	seed := c.Seed + first
	replay := newReplay(c.Log, seed)
	var build builder
	for i, pos := range c.Log.positions(draw{seed: seed}, n) {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		crash := Crash{Seed: seed, Pos: pos, Draw: uint64(i)}
		replay.advance(pos)
		if err := build.build(replay, newDraw(crash, replay.oldest()), dir); err != nil {
			return err
		}
		tally.count(crash, c.check(dir, replay.acked()))
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// check turns a panic into damage: a product that cannot even open what a crash left must not take the campaign along.
func (c Campaign) check(dir string, acked []Ack) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return c.Check(dir, acked)
}

// tally is a result that several workers count into.
type tally struct {
	mu sync.Mutex
	Result
}

func (t *tally) bad() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Bad()
}

func (t *tally) count(crash Crash, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.States++
	switch {
	case err == nil:
		return
	case errors.Is(err, ErrLost):
		t.Lost++
	case errors.Is(err, ErrHalf):
		t.Half++
	default:
		t.Damaged++
	}
	if len(t.First) < 5 {
		t.First = append(t.First, Failure{crash, err})
	}
}

// tmpfs mounts a tmpfs for crash states until the test ends: on a disk they would take twice the time.
func tmpfs(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("powerloss", dir, "tmpfs", 0, "mode=0700"); err != nil {
		t.Fatalf("mounting a tmpfs for crash states: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting the tmpfs: %v", err)
		}
	})
	return dir
}

// RequireSound fails the test unless every state passed.
func (r Result) RequireSound(t testing.TB, log *Log) {
	t.Helper()
	t.Logf("%d operations, %d acknowledgements; %s", len(log.Ops), len(log.Acks), r)
	if r.States == 0 || len(log.Acks) == 0 {
		t.Errorf("nothing was checked")
	}
	for _, f := range r.First {
		t.Errorf("%s: %v", f.Crash, f.Err)
	}
	if r.Bad() > len(r.First) {
		t.Errorf("%d states failed in all", r.Bad())
	}
}

// RequireCaught fails the test if fewer than share of the states, 0 to 1, failed: the workload is broken on purpose. The
// states are drawn at random, so the campaign needs enough of them that the true share, which the test states or measures,
// lies many standard deviations above the bound: sqrt(p (1-p) / n) is one.
func (r Result) RequireCaught(t testing.TB, share float64) {
	t.Helper()
	t.Log(r)
	for _, f := range r.First {
		t.Logf("for example %s: %v", f.Crash, f.Err)
	}
	if float64(r.Bad()) < share*float64(r.States) || r.States == 0 {
		t.Errorf("the broken variant was caught in %d of %d states, want at least %.0f %%", r.Bad(), r.States, 100*share)
	}
}
