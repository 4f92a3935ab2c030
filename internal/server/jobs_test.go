package server

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/event"
	"github.com/keywright/keywright/internal/store"
)

func TestJobsAreRepeatedAndSurviveTheirFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &core{log: slog.New(slog.DiscardHandler), clock: clock.System{}, metrics: newMetrics()}
		begun := time.Now()
		var runs []time.Duration
		k.background(func(ctx context.Context) {
			k.repeat(ctx, job{name: "test", every: time.Hour, run: func(context.Context) error {
				runs = append(runs, time.Since(begun))
				return errors.New("broken")
			}})
		})
		time.Sleep(2*time.Hour + 2*time.Minute)
		if err := k.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{firstJob, firstJob + time.Hour, firstJob + 2*time.Hour}
		if len(runs) != len(want) || runs[0] != want[0] || runs[2] != want[2] {
			t.Errorf("the job ran at %v, want %v", runs, want)
		}
	})
}

// commits lists the positions in the journal.
func (d *Dev) commits(t *testing.T) (list []store.Position) {
	t.Helper()
	err := d.core.store.View(t.Context(), func(tx store.Tx) error {
		commits, err := tx.Commits(t.Context(), 0, 0)
		for _, c := range commits {
			list = append(list, c.Position)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (d *Dev) read(t *testing.T, reader string, p store.Position) {
	t.Helper()
	if err := d.core.store.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error {
		return tx.SetCursor(t.Context(), reader, p)
	}); err != nil {
		t.Fatal(err)
	}
}

func TestJournalIsPrunedBehindItsSlowestReader(t *testing.T) {
	journalReaders = append(journalReaders, "test")
	t.Cleanup(func() { journalReaders = journalReaders[:len(journalReaders)-1] })
	now := clock.NewManual(time.Now())
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Clock: now}})
	prune := func() {
		t.Helper()
		if err := d.core.pruneJournal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before := d.commits(t)
	if len(before) < 3 {
		t.Fatalf("the journal has %d entries: the test needs three", len(before))
	}
	last := before[len(before)-1]
	d.read(t, archive.Cursor(""), last)
	d.read(t, event.Cursor, last)
	d.read(t, "test", before[1])
	if prune(); len(d.commits(t)) < len(before) {
		t.Error("entries went that are younger than a day")
	}
	now.Advance(journalKept + time.Minute)
	if prune(); d.commits(t)[0] != before[2] {
		t.Errorf("the journal begins at %d behind a reader at %d", d.commits(t)[0], before[1])
	}
	d.read(t, "test", last)
	prune()
	if left := d.commits(t); len(left) > 0 && left[0] <= last {
		t.Errorf("the journal has still %v, and all have read up to %d", left, last)
	}
}

// TestRecordsOfChangesReachTheLogAtOnce waits less than the interval at which the sequencer looks by itself, which is made so
// long that no busy machine confuses the two.
func TestRecordsOfChangesReachTheLogAtOnce(t *testing.T) {
	defer func(before time.Duration) { sequenceInterval = before }(sequenceInterval)
	sequenceInterval = time.Hour
	d := startDev(t, t.TempDir())
	answer, body := d.azure(t).do("PUT", "/secrets/one?api-version=7.6", `{"value":"x"}`)
	if answer.StatusCode != 200 {
		t.Fatal(body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	found := errors.New("found")
	err := d.core.audit.log.Follow(ctx, 0, func(_ int64, r *audit.Record) error {
		if r.CorrelationID != answer.Header.Get("X-Ms-Request-Id") {
			return nil
		}
		if r.Operation != "SecretSet" {
			t.Errorf("the record tells of %s", r.Operation)
		}
		return found
	})
	if !errors.Is(err, found) {
		t.Error("the record of an acknowledged change did not reach the log: ", err)
	}
}
