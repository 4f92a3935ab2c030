package durability_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/powerloss"
)

// recordingStates is how many crash states are taken from one recording before the workload runs anew: the writers'
// interleaving differs each time.
const recordingStates = 20_000

func TestPowerLoss(t *testing.T) {
	for left := powerloss.States(t, 1000); left > 0; left -= recordingStates {
		log := powerloss.Record(t, "bounded", "", powerloss.Config{})
		campaign(t, log, min(left, recordingStates)).RequireSound(t, log)
	}
}

// TestPowerLossWithOSDurability lets the audit log promise its decisions to kill -9 alone: the power may take the last of
// them, nothing else, and least of all the log's integrity.
func TestPowerLossWithOSDurability(t *testing.T) {
	log := powerloss.Record(t, "bounded", durabilityOS, powerloss.Config{})
	powerloss.Campaign{Log: log, Seed: powerloss.Seed(t), States: powerloss.Sample(300), Check: func(dir string, acked []powerloss.Ack) error {
		return checkCrash(dir, slices.DeleteFunc(slices.Clone(acked), func(ack powerloss.Ack) bool {
			return strings.HasPrefix(ack.Text, ackDecision)
		}))
	}}.Run(t).RequireSound(t, log)
}

// TestPowerLossWithoutSync is the control: the same recording with one duty taken out has to be caught.
func TestPowerLossWithoutSync(t *testing.T) {
	log := powerloss.Record(t, "bounded", "", powerloss.Config{})
	for _, c := range []struct {
		name string
		drop func(kind powerloss.Kind, name string) bool
	}{
		{"no fsync", func(kind powerloss.Kind, _ string) bool { return kind == powerloss.Sync }},
		{"no fsync of the write-ahead log", func(_ powerloss.Kind, name string) bool { return name == "keywright.db-wal" }},
		{"no fsync of the database", func(_ powerloss.Kind, name string) bool { return name == "keywright.db" }},
		{"no fsync of the audit log", func(_ powerloss.Kind, name string) bool { return segmentFile(name) }},
		{"no fsync of the audit directory", func(kind powerloss.Kind, name string) bool {
			return kind == powerloss.SyncDir && name == auditDir
		}},
		{"no directory fsync", func(kind powerloss.Kind, _ string) bool { return kind == powerloss.SyncDir }},
		{"no fsync of the parent directory", func(kind powerloss.Kind, name string) bool {
			return kind == powerloss.SyncDir && name == ""
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			powerloss.Campaign{
				Log: log.Unsynced(c.drop), Seed: powerloss.Seed(t), States: 1000, Stop: 10, Check: checkCrash,
			}.Run(t).RequireCaught(t, 0.01)
		})
	}
}

// TestFailingSync loses power on a disk whose fsyncs fail now and then: what was acknowledged in spite of that is there.
func TestFailingSync(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults powerloss.Faults
	}{
		{"everywhere", powerloss.Faults{SyncErrors: 0.1}},
		{"audit log", powerloss.Faults{SyncErrors: 0.3, Only: segmentFile}},
		// The checkpointer syncs the write-ahead log while the writer's pages in it are under way.
		{"write-ahead log, beside its writer", powerloss.Faults{SyncErrors: 1, Only: writeAheadLog, Foreign: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.faults.Seed = powerloss.Seed(t)
			log := powerloss.Record(t, "bounded", "", powerloss.Config{OnAck: failFrom(1, c.faults)})
			campaign(t, log, powerloss.Sample(300)).RequireSound(t, log)
		})
	}
}

// segmentFile reports whether a file of this first name became a segment of the audit log.
func segmentFile(name string) bool { return strings.HasPrefix(name, "tmp-") }

func writeAheadLog(name string) bool { return name == "keywright.db-wal" }

func TestSlowSync(t *testing.T) {
	log := powerloss.Record(t, "bounded", "", powerloss.Config{Faults: powerloss.Faults{SyncDelay: 2 * time.Millisecond}})
	campaign(t, log, powerloss.Sample(300)).RequireSound(t, log)
}

// failFrom sets the faults at the nth acknowledgement, so that the store can be made in peace.
func failFrom(n int, faults powerloss.Faults) func(*powerloss.Recorder, powerloss.Ack) {
	return func(r *powerloss.Recorder, _ powerloss.Ack) {
		if n--; n == 0 {
			r.SetFaults(faults)
		}
	}
}

// campaign checks crash states of the log.
func campaign(t *testing.T, log *powerloss.Log, states int) powerloss.Result {
	t.Helper()
	return powerloss.Campaign{Log: log, Seed: powerloss.Seed(t), States: states, Check: checkCrash}.Run(t)
}

// checkCrash sorts what checkNode finds for the counts.
func checkCrash(dir string, acked []powerloss.Ack) error {
	lines := make([]string, len(acked))
	for i, ack := range acked {
		lines[i] = ack.Text
	}
	err := checkNode(dir, lines)
	switch {
	case errors.Is(err, errLost):
		return fmt.Errorf("%w: %w", powerloss.ErrLost, err)
	case errors.Is(err, errHalf):
		return fmt.Errorf("%w: %w", powerloss.ErrHalf, err)
	}
	return err
}
