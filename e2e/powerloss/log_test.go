package powerloss_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/keywright/keywright/e2e/powerloss"
	"github.com/keywright/keywright/e2e/workload"
)

// The log workload appends records of length, checksum and text to a file in a directory that it makes, and
// acknowledges each one.
const (
	records   = 300
	logDir    = "logs"
	logHeader = 8 // bytes: length and CRC-32 of the text
)

// controlStates is how many states a broken log is checked in, under the race detector too: reading a log is quick. A lost
// name is one pending operation, which a draw loses with probability 1/8 (nothing is kept) + 2/8 · 0.5 + 1/8 · 0.9 + 1/8 · 0.1
// = 0.375. In 1,000 states that is 0.375 ± 0.015: a bound of 0.25 lies eight standard deviations below.
const controlStates = 1000

// caughtShare is the least share of states in which a broken log has to be caught.
const caughtShare = 0.25

// logWorkload's variants leave out one duty: "no-sync" the fsync of the file, "no-dirsync" that of its directory,
// "no-parentsync" that of the directory above, which holds the new directory's name.
func logWorkload(run *workload.Run) error {
	dir := filepath.Join(run.Dir, logDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if run.Variant != "no-dirsync" {
		err = errors.Join(err, syncDir(dir))
	}
	if run.Variant != "no-parentsync" {
		err = errors.Join(err, syncDir(run.Dir))
	}
	for i := 0; i < records && err == nil; i++ {
		text := fmt.Sprintf("record %d", i)
		if _, err = file.Write(frame(text)); err != nil {
			break
		}
		if run.Variant != "no-sync" {
			err = file.Sync()
		}
		err = errors.Join(err, run.Ack("%s", text))
	}
	return err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func frame(text string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE([]byte(text)))
	return append(b, text...)
}

// readLog returns the records up to the first that is not whole.
func readLog(path string) (map[string]bool, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	present := map[string]bool{}
	for len(data) >= logHeader {
		n, sum := int(binary.BigEndian.Uint32(data)), binary.BigEndian.Uint32(data[4:])
		if n == 0 || n > len(data)-logHeader || crc32.ChecksumIEEE(data[logHeader:logHeader+n]) != sum {
			break
		}
		present[string(data[logHeader:logHeader+n])] = true
		data = data[logHeader+n:]
	}
	return present, nil
}

func checkLog(dir string, acked []powerloss.Ack) error {
	present, err := readLog(filepath.Join(dir, logDir, "log"))
	if err != nil {
		return err
	}
	return missing(acked, present)
}

func TestSyncedLogLosesNothing(t *testing.T) {
	log := powerloss.Record(t, "log", "", powerloss.Config{})
	campaign(t, log, powerloss.States(t, 2000), checkLog).RequireSound(t, log)
}

// TestBrokenLogIsCaught is the control for each duty of an append-only log.
func TestBrokenLogIsCaught(t *testing.T) {
	for _, variant := range []string{"no-sync", "no-dirsync", "no-parentsync"} {
		t.Run(variant, func(t *testing.T) {
			log := powerloss.Record(t, "log", variant, powerloss.Config{})
			campaign(t, log, controlStates, checkLog).RequireCaught(t, caughtShare)
		})
	}
}

// TestUnsyncedIsCaught takes single duties out of the recording of the sound workload.
func TestUnsyncedIsCaught(t *testing.T) {
	log := powerloss.Record(t, "log", "", powerloss.Config{})
	for name, drop := range map[string]func(powerloss.Kind, string) bool{
		"file":             func(_ powerloss.Kind, name string) bool { return name == "log" },
		"directory":        func(_ powerloss.Kind, name string) bool { return name == logDir },
		"parent directory": func(_ powerloss.Kind, name string) bool { return name == "" },
	} {
		t.Run(name, func(t *testing.T) {
			campaign(t, log.Unsynced(drop), controlStates, checkLog).RequireCaught(t, caughtShare)
		})
	}
	campaign(t, log, powerloss.Sample(500), checkLog).RequireSound(t, log)
}
