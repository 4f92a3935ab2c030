package durability_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/e2e/workload"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// vaultID is the one vault of the workload.
const vaultID vault.ID = "00000000000000000000000000000001"

const (
	writers = 8
	// updates per writer, where the workload ends by itself, and cursors per update: together enough changes for the store
	// to checkpoint and to start its log anew, in a database that stays small.
	updates = 40
	cursors = 14
)

// change adds a version to the object, which becomes its current one, and in the same transaction a setting, an event
// and an audit record that carry the version's id, and some cursors that count the versions. Then it acknowledges that id. An Update whose outcome is in doubt,
// as on a failing disk, is looked up like a service does.
func change(run *workload.Run, s store.Store, name string) error {
	ctx, now := context.Background(), clock.Micro(time.Now())
	op, version := store.NewOp(now), vault.NewVersionID(now)
	frame, err := auditFrame(name, version, now)
	if err != nil {
		return err
	}
	err = s.Update(ctx, op, func(tx store.Tx) error {
		tx.Audit(frame)
		return put(ctx, tx, name, version, now)
	})
	if fault.Is(err, fault.Unavailable) {
		committed, lookErr := s.Committed(ctx, op.ID)
		if lookErr != nil || !committed {
			return nil // not acknowledged: it may be there later or not, but whole
		}
		err = nil
	}
	if err != nil {
		return err
	}
	return run.Ack("%s %s", ackVersion, version)
}

func put(ctx context.Context, tx store.Tx, name string, version vault.VersionID, now time.Time) error {
	object, err := tx.Object(ctx, vaultID, vault.Secret, name)
	if fault.Is(err, fault.NotFound) {
		object, err = &vault.Object{ID: vault.NewObjectID(now), Vault: vaultID, Kind: vault.Secret, Name: name, Created: now}, nil
	}
	if err != nil {
		return err
	}
	changed := *object
	changed.Current = version
	tx.Emit(store.Event{ID: string(version), Type: "changed", Subject: name, At: now, Data: []byte("{}")})
	for i := range cursors {
		err = errors.Join(err, tx.SetCursor(ctx, cursor(name, i), store.Position(object.Revision+1)))
	}
	return errors.Join(err,
		tx.PutSetting(ctx, name, []byte(version)),
		tx.PutObject(ctx, &changed),
		tx.AddVersion(ctx, &vault.Version{
			ID: version, Object: object.ID, Previous: object.Current, State: vault.Active,
			Attributes: vault.Attributes{Enabled: true, Created: now, Updated: now},
			Value:      vault.Envelope{Key: "key", Ciphertext: value(version)},
		}),
	)
}

func cursor(object string, i int) string { return fmt.Sprintf("%s/%d", object, i) }

func value(version vault.VersionID) []byte { return bytes.Repeat([]byte(version), 4) }

// wholeVersions returns every version and compares them with the journal, with the settings and with their objects.
func wholeVersions(ctx context.Context, tx store.Tx) (map[vault.VersionID]bool, error) {
	found := map[vault.VersionID]bool{}
	objects, err := tx.Objects(ctx, store.ObjectQuery{Vault: vaultID, Kind: vault.Secret})
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		versions, err := tx.Versions(ctx, object.ID, "", 0)
		if err != nil {
			return nil, err
		}
		if err := checkObject(ctx, tx, object, versions); err != nil {
			return nil, fmt.Errorf("%s: %w", object.Name, err)
		}
		for _, v := range versions {
			found[v.ID] = true
		}
	}
	return found, checkJournal(ctx, tx, found)
}

func checkObject(ctx context.Context, tx store.Tx, object *vault.Object, versions []*vault.Version) error {
	if n := len(versions); n == 0 || object.Revision != int64(n) || object.Current != versions[n-1].ID {
		return fmt.Errorf("revision %d, current %s, %d versions: %w", object.Revision, object.Current, n, errHalf)
	}
	if got, err := tx.Setting(ctx, object.Name); err != nil || vault.VersionID(got) != object.Current {
		return fmt.Errorf("the setting is %q, %v, the current version %s: %w", got, err, object.Current, errHalf)
	}
	for i := range cursors {
		if n, err := tx.Cursor(ctx, cursor(object.Name, i)); err != nil || int(n) != len(versions) {
			return fmt.Errorf("cursor %d is %d, %v, with %d versions: %w", i, n, err, len(versions), errHalf)
		}
	}
	for _, v := range versions {
		if !bytes.Equal(v.Value.Ciphertext, value(v.ID)) {
			return fmt.Errorf("version %s has another value: %w", v.ID, errHalf)
		}
	}
	return nil
}

// checkJournal wants one entry per version, without a gap, each with its audit record and its event.
func checkJournal(ctx context.Context, tx store.Tx, found map[vault.VersionID]bool) error {
	commits, err := tx.Commits(ctx, 0, 0)
	if err != nil {
		return err
	}
	if len(commits) != len(found) {
		return fmt.Errorf("%d journal entries, %d versions: %w", len(commits), len(found), errHalf)
	}
	for i, c := range commits {
		if int(c.Position) != i+1 || len(c.Events) != 1 {
			return fmt.Errorf("journal entry %d at %d with %d events: %w", i, c.Position, len(c.Events), errHalf)
		}
		version := vault.VersionID(c.Events[0].ID)
		if id := recordID(version); !found[version] || !bytes.Contains(c.Audit, id[:]) {
			return fmt.Errorf("journal entry %d of version %s has another audit record: %w", i, version, errHalf)
		}
	}
	return nil
}
