package audit

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/audit/disk"
)

// child appends records from four goroutines until it is killed, and writes the number of each acknowledged one to
// standard output.
func child(dir string) {
	var from int
	var durability Durability
	_, err := fmt.Sscan(os.Getenv("KEYWRIGHT_AUDIT_FROM"), &from, &durability)
	var t childT
	cfg := testConfig(t, nil)
	cfg.Dir, cfg.Durability, cfg.CheckpointInterval, cfg.SyncInterval = dir, durability, 5*time.Millisecond, 5*time.Millisecond
	l, openErr := Open(cfg)
	if err != nil || openErr != nil || l.Start(context.Background()) != nil {
		fmt.Fprintln(os.Stderr, "the child cannot start:", err, openErr)
		os.Exit(1)
	}
	for g := range 4 {
		go func() {
			for i := from + g; ; i += 4 {
				if err := l.Append(context.Background(), sample(i)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				// One small write is atomic, so lines do not mix.
				_, _ = os.Stdout.Write(binary.LittleEndian.AppendUint64(nil, uint64(i)))
			}
		}()
	}
	select {}
}

// childT is enough of a testing.TB for testConfig outside of a test.
type childT struct{ testing.TB }

func (childT) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
func (childT) Log(args ...any)   { fmt.Fprintln(os.Stderr, args...) }

// TestKill kills an appending process with SIGKILL, again and again on one directory: every acknowledged record must be
// there, and the log must verify. KEYWRIGHT_AUDIT_KILLS sets how often.
func TestKill(t *testing.T) {
	kills := 12
	if s := os.Getenv("KEYWRIGHT_AUDIT_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, durability := range []Durability{OS, Fsync} {
		t.Run(durability.String(), func(t *testing.T) {
			dir := t.TempDir()
			acked := map[string]bool{}
			for round := range kills {
				for _, i := range killOne(t, dir, durability, round) {
					acked[fmt.Sprint("c", i)] = true
				}
				if round%4 == 3 || round == kills-1 {
					checkKilled(t, dir, durability, acked)
				}
			}
			t.Logf("%d kills, %d acknowledged records", kills, len(acked))
			if len(acked) == 0 {
				t.Error("no record was acknowledged: this test shows nothing")
			}
		})
	}
}

func killOne(t *testing.T, dir string, durability Durability, round int) (acked []uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KEYWRIGHT_AUDIT_CHILD="+dir,
		fmt.Sprintf("KEYWRIGHT_AUDIT_FROM=%d %d", round*1_000_000, durability))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	var b [8]byte
	for n := 0; ; n++ {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			break
		}
		acked = append(acked, binary.LittleEndian.Uint64(b[:]))
		if n == 50+round*137%500 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	return acked
}

func checkKilled(t *testing.T, dir string, durability Durability, acked map[string]bool) {
	t.Helper()
	cfg := testConfig(t, nil)
	cfg.Dir, cfg.Durability = dir, durability
	l := mustOpen(t, cfg)
	left := map[string]bool{}
	for _, r := range collect(t, l, Filter{}) {
		left[r.CorrelationID] = true
	}
	for id := range acked {
		if !left[id] {
			t.Errorf("acknowledged record %s is gone", id)
		}
	}
	l.Stop()
	d, err := disk.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if report := verify(t, d, nil); !report.OK() || report.Proven != report.Records {
		t.Fatalf("%+v", report)
	}
}
