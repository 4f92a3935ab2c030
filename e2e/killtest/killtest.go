// Package killtest proves that what was acknowledged survives kill -9.
//
// A workload writes for ever in a process of its own and acknowledges through a pipe. Killer ends it with SIGKILL at a
// random moment, reads what is left in the pipe, checks the directory as a restart would find it, and starts the
// workload again in the same directory, so that a recovery is hurt like everything else.
package killtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/machine"
	"github.com/keywright/keywright/e2e/workload"
)

const (
	// killsEnv replaces the number of kills of a sound workload.
	killsEnv = "KEYWRIGHT_KILLTEST_KILLS"
	// killsPerDir is how often one directory is hurt before a new one starts: what was acknowledged is checked after
	// every kill, so the work grows with the square.
	killsPerDir = 25
	// longestRun is how long after its first acknowledgement a process lives at most; half of them die earlier, at a
	// random one of their first manyAcks acknowledgements.
	longestRun = 60 * time.Millisecond
	manyAcks   = 100
	// startTimeout bounds the wait for the first acknowledgement.
	startTimeout = time.Minute
	workers      = 2
)

// starting keeps checks and starts apart: between fork and exec a new process shares every open file of this one, and
// with it a lock that a check holds and gives back too early to see.
var starting sync.RWMutex

// Killer hurts one workload again and again.
type Killer struct {
	// Workload and Variant name what workload.Main knows. It must not end by itself.
	Workload, Variant string
	Kills             int
	// Check opens dir as a restart would and wants every line that was acknowledged since the directory was empty. It
	// leaves nothing open.
	Check func(dir string, acked []string) error
}

// Result counts what was found.
type Result struct {
	Kills, Acks, Failed int
	// First holds the first failures, at most 5.
	First   []error
	Elapsed time.Duration
}

// String gives counts and the rate.
func (r Result) String() string {
	return fmt.Sprintf("%d kills, %d acknowledgements, %d failures; %.0f kills/min", r.Kills, r.Acks, r.Failed,
		float64(r.Kills)/max(r.Elapsed.Minutes(), 1e-9))
}

// Kills returns how many kills a sound workload gets: the environment's KEYWRIGHT_KILLTEST_KILLS, else sample, or a fifth
// of it under the race detector.
func Kills(t testing.TB, sample int) int {
	t.Helper()
	text, ok := os.LookupEnv(killsEnv)
	if !ok && machine.RaceDetector {
		return max(1, sample/5)
	}
	if !ok {
		return sample
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a positive number", killsEnv, text)
	}
	return n
}

// Run hurts the workload. It fails the test only if the harness does not work; the caller judges the result.
func (k Killer) Run(t testing.TB) Result {
	t.Helper()
	start := time.Now()
	base := t.TempDir()
	victims := make(chan int)
	var result Result
	var mu sync.Mutex
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for first := range victims {
				part, err := k.hurt(filepath.Join(base, strconv.Itoa(first)), min(killsPerDir, k.Kills-first))
				mu.Lock()
				result.add(part)
				mu.Unlock()
				if err != nil {
					t.Errorf("killing: %v", err)
				}
			}
		})
	}
	for first := 0; first < k.Kills; first += killsPerDir {
		victims <- first
	}
	close(victims)
	wait.Wait()
	result.Elapsed = time.Since(start)
	t.Log(result)
	return result
}

func (r *Result) add(part Result) {
	r.Kills += part.Kills
	r.Acks += part.Acks
	r.Failed += part.Failed
	r.First = append(r.First, part.First...)[:min(5, len(r.First)+len(part.First))]
}

// hurt kills n times in one new directory. It ends at the first failure: nothing after it could be told from it.
func (k Killer) hurt(dir string, n int) (Result, error) {
	var r Result
	if err := os.Mkdir(dir, 0o700); err != nil {
		return r, err
	}
	var acked []string
	for range n {
		lines, err := k.kill(dir)
		if err != nil {
			return r, err
		}
		acked = append(acked, lines...)
		r.Kills++
		r.Acks += len(lines)
		if err := k.check(dir, acked); err != nil {
			r.Failed++
			r.First = append(r.First, fmt.Errorf("after kill %d in one directory: %w", r.Kills, err))
			break
		}
	}
	return r, os.RemoveAll(dir)
}

func (k Killer) check(dir string, acked []string) error {
	starting.RLock()
	defer starting.RUnlock()
	return k.Check(dir, acked)
}

// kill runs the workload once, kills it and returns what it acknowledged.
func (k Killer) kill(dir string) ([]string, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	defer writer.Close()
	cmd, err := workload.Command(k.Workload, k.Variant, dir, "/proc/self/fd/3")
	if err != nil {
		return nil, err
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &output, &output, []*os.File{writer}
	starting.Lock()
	err = cmd.Start()
	starting.Unlock()
	if err != nil {
		return nil, err
	}
	_ = writer.Close() // the pipe ends with the child
	lines := collect(reader, cmd.Process)
	if err := cmd.Wait(); !killed(err) {
		return nil, fmt.Errorf("workload %s %s ended by itself (%v) after %d acknowledgements\n%s", k.Workload, k.Variant,
			err, len(lines), output.Bytes())
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("workload %s %s acknowledged nothing in %v\n%s", k.Workload, k.Variant, startTimeout, output.Bytes())
	}
	return lines, nil
}

// collect reads acknowledgements until the pipe ends and sees to it that the process is killed before that.
func collect(pipe *os.File, process *os.Process) []string {
	kill := func() { _ = process.Kill() }
	timer := time.AfterFunc(startTimeout, kill)
	defer timer.Stop()
	at := 0 // die at this acknowledgement
	if rand.IntN(2) == 0 {
		at = 1 + rand.IntN(manyAcks)
	}
	var lines []string
	for scanner := bufio.NewScanner(pipe); scanner.Scan(); {
		lines = append(lines, scanner.Text())
		if len(lines) == 1 {
			timer.Reset(rand.N(longestRun))
		}
		if len(lines) == at {
			kill()
		}
	}
	return lines
}

// killed reports whether a process ended by SIGKILL.
func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// RequireSound fails the test unless every kill left everything.
func (r Result) RequireSound(t testing.TB) {
	t.Helper()
	if r.Kills == 0 || r.Acks == 0 {
		t.Error("nothing was checked")
	}
	for _, err := range r.First {
		t.Error(err)
	}
}

// RequireCaught fails the test if the harness did not notice that the workload is broken.
func (r Result) RequireCaught(t testing.TB) {
	t.Helper()
	if r.Failed == 0 {
		t.Errorf("the broken variant passed %d kills", r.Kills)
	}
}
