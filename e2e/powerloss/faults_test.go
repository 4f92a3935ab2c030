package powerloss_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/powerloss"
	"github.com/keywright/keywright/e2e/workload"
)

// fullWorkload fills the disk until a database and a log fail, sees that reads go on, asks for space and goes on
// without opening anything again.
func fullWorkload(run *workload.Run) error {
	db, err := openDatabase(run.Dir, "rwc", "FULL")
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE part (tx INTEGER, n INTEGER, body TEXT, PRIMARY KEY (tx, n))`); err != nil {
		return err
	}
	tx := 0
	for err == nil && tx < 10000 {
		if err = insert(db, tx); err == nil {
			err = run.Ack("%d", tx)
			tx++
		}
	}
	if err == nil || !strings.Contains(err.Error(), "(13)") {
		return fmt.Errorf("a full disk gave %v after %d transactions, want SQLITE_FULL (13)", err, tx)
	}
	present, err := wholeTransactions(db)
	if err != nil || len(present) != tx {
		return fmt.Errorf("reading on the full disk: %d of %d transactions, %v", len(present), tx, err)
	}
	if err := fillUp(filepath.Join(run.Dir, "filler")); err != nil {
		return err
	}
	if err := run.Ack("full"); err != nil {
		return err
	}
	if err := insert(db, tx); err != nil {
		return fmt.Errorf("writing after there was space again: %w", err)
	}
	return run.Ack("%d", tx)
}

// fillUp takes the rest of the space and expects the last write to be short.
func fillUp(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	n, err := file.Write(make([]byte, 1<<20))
	if !errors.Is(err, syscall.ENOSPC) || n == 1<<20 {
		return fmt.Errorf("filling up wrote %d bytes, error %v", n, err)
	}
	return nil
}

func TestFullDiskLosesNothingAndRecovers(t *testing.T) {
	log := powerloss.Record(t, "full", "", powerloss.Config{
		Faults: powerloss.Faults{Limit: 300 << 10},
		OnAck: func(r *powerloss.Recorder, ack powerloss.Ack) {
			if ack.Text == "full" {
				r.SetFaults(powerloss.Faults{})
			}
		},
	})
	campaign(t, log, powerloss.Sample(1000), numbered(checkDatabase)).RequireSound(t, log)
}

// failingWorkload writes transactions on a disk whose fsyncs fail and acknowledges those whose commit succeeded.
func failingWorkload(run *workload.Run) error {
	db, err := openDatabase(run.Dir, "rwc", "FULL")
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE part (tx INTEGER, n INTEGER, body TEXT, PRIMARY KEY (tx, n))`); err != nil {
		return err
	}
	if err := run.Ack("ready"); err != nil {
		return err
	}
	failed := 0
	for tx := range transactions {
		if err := insert(db, tx); err != nil {
			failed++
			continue // in doubt: it may be there or not, but whole
		}
		if err := run.Ack("%d", tx); err != nil {
			return err
		}
	}
	if failed == 0 || failed == transactions {
		return fmt.Errorf("%d of %d transactions failed", failed, transactions)
	}
	return nil
}

// TestDatabaseOnFailingSync lets fsyncs fail from the table's creation on.
func TestDatabaseOnFailingSync(t *testing.T) {
	seed := powerloss.Seed(t)
	log := powerloss.Record(t, "failing", "", powerloss.Config{OnAck: func(r *powerloss.Recorder, ack powerloss.Ack) {
		if ack.Text == "ready" {
			r.SetFaults(powerloss.Faults{SyncErrors: 0.2, Seed: seed})
		}
	}})
	requireFailedSyncs(t, log)
	campaign(t, log, powerloss.Sample(1000), numbered(checkDatabase)).RequireSound(t, log)
}

// numbered hands a check those acknowledgements that are numbers of transactions; the others are signals to the test.
func numbered(check powerloss.Check) powerloss.Check {
	return func(dir string, acked []powerloss.Ack) error {
		return check(dir, slices.DeleteFunc(slices.Clone(acked), func(ack powerloss.Ack) bool {
			_, err := strconv.Atoi(ack.Text)
			return err != nil
		}))
	}
}

// retryWorkload appends to a log whose fsyncs fail. The variant says what it does then: "again" only repeats the fsync,
// "rewrite" writes the record again first. Each record has its own place, so that a rewrite goes over what is there.
func retryWorkload(run *workload.Run) error {
	if err := os.Mkdir(filepath.Join(run.Dir, logDir), 0o700); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(run.Dir, logDir, "log"))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := errors.Join(syncDir(filepath.Join(run.Dir, logDir)), syncDir(run.Dir)); err != nil {
		return err
	}
	var off int64
	for i := range records {
		text := fmt.Sprintf("record %d", i)
		data := frame(text)
		if _, err := file.WriteAt(data, off); err != nil {
			return err
		}
		for file.Sync() != nil {
			if run.Variant != "rewrite" {
				continue
			}
			if _, err := file.WriteAt(data, off); err != nil {
				return err
			}
		}
		off += int64(len(data))
		if err := run.Ack("%s", text); err != nil {
			return err
		}
	}
	return nil
}

// TestFailingSync shows both halves of the model: after EIO a second fsync proves nothing, writing again does.
func TestFailingSync(t *testing.T) {
	faults := powerloss.Config{Faults: powerloss.Faults{SyncErrors: 0.2, Seed: powerloss.Seed(t)}}
	t.Run("rewrite", func(t *testing.T) {
		log := powerloss.Record(t, "retry", "rewrite", faults)
		requireFailedSyncs(t, log)
		campaign(t, log, powerloss.Sample(2000), checkLog).RequireSound(t, log)
	})
	t.Run("again", func(t *testing.T) {
		log := powerloss.Record(t, "retry", "again", faults)
		campaign(t, log, controlStates, checkLog).RequireCaught(t, caughtShare)
	})
}

// TestSlowSyncLosesNothing takes the database over a disk on which each fsync takes a while.
func TestSlowSyncLosesNothing(t *testing.T) {
	const delay = time.Millisecond
	start := time.Now()
	log := powerloss.Record(t, "sqlite", "FULL", powerloss.Config{Faults: powerloss.Faults{SyncDelay: delay}})
	syncs := 0
	for _, op := range log.Ops {
		if op.Kind == powerloss.Sync {
			syncs++
		}
	}
	if took := time.Since(start); syncs == 0 || took < time.Duration(syncs)*delay {
		t.Errorf("%d fsyncs of %v took %v in all", syncs, delay, took)
	}
	campaign(t, log, powerloss.Sample(500), checkDatabase).RequireSound(t, log)
}

func requireFailedSyncs(t *testing.T, log *powerloss.Log) {
	t.Helper()
	for _, op := range log.Ops {
		if op.Kind == powerloss.SyncFailed {
			return
		}
	}
	t.Error("no fsync failed: the knob does nothing")
}
