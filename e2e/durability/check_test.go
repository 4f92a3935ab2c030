package durability_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var (
	errLost = errors.New("acknowledged and gone")
	errHalf = errors.New("there in part")
)

// checkNode opens what is left in dir as a restart does and lets the audit rows reach the log. Then:
//
//   - every acknowledged version and decision is there;
//   - of every version, acknowledged or not, all that was written with it is there, its audit record exactly once;
//   - the audit log verifies, every record proven, and the database is sound.
func checkNode(dir string, acked []string) error {
	n, err := openNode(dir, audit.Fsync)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	ctx := context.Background()
	records, err := n.sequence(ctx)
	var versions map[vault.VersionID]bool
	if err == nil {
		err = n.store.View(ctx, func(tx store.Tx) (err error) {
			versions, err = wholeVersions(ctx, tx)
			return err
		})
	}
	if err := errors.Join(err, n.close()); err != nil {
		return err
	}
	return errors.Join(compare(acked, versions, records), verifyAudit(dir), integrity(filepath.Join(dir, storeDir)))
}

// compare holds versions and audit records, counted by id, against each other and against what was acknowledged.
func compare(acked []string, versions map[vault.VersionID]bool, records map[string]int) error {
	for _, line := range acked {
		what, id, _ := strings.Cut(line, " ")
		if what == ackVersion && !versions[vault.VersionID(id)] || what == ackDecision && records[id] == 0 {
			return fmt.Errorf("%s of %d: %w", line, len(acked), errLost)
		}
	}
	for id, n := range records {
		if n != 1 {
			return fmt.Errorf("audit record %s stands %d times in the log: %w", id, n, errHalf)
		}
	}
	for version := range versions {
		if records[string(version)] == 0 {
			return fmt.Errorf("version %s has no audit record: %w", version, errHalf)
		}
	}
	return nil
}
