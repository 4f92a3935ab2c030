package storetest

import (
	"strings"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var backupReaders = strings.Fields("Backup Backups")

var backupCases = []testCase{
	{name: "Backups/RoundTrip", run: backupsRoundTrip, reopens: true},
	{name: "Backups/NotFound", run: func(e *env) {
		missing(e, map[string]func(tx store.Tx) error{"Backup": func(tx store.Tx) error { _, err := tx.Backup(e.ctx, "x"); return err }},
			map[string]func(tx store.Tx) error{"DeleteBackup": func(tx store.Tx) error { return tx.DeleteBackup(e.ctx, "x") }})
	}},
	{name: "Backups/CompareAndSwap", run: func(e *env) {
		f := newFixture()
		swaps(e, f, func(tx store.Tx, revision int64) error {
			c := *f.backup
			c.Revision = revision
			return tx.PutBackup(e.ctx, &c)
		}, func(s *state) int64 { return s.Backups[0].Revision })
	}},
	{name: "Backups/Selection", run: backupsSelection},
}

var backupMutations = []mutation{
	{method: "PutBackup", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		f.backup.Revision, f.backup.Doc = 1, []byte("other")
		return tx.PutBackup(e.ctx, f.backup)
	}},
	{method: "DeleteBackup", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error { return tx.DeleteBackup(e.ctx, f.backup.ID) }},
}

func newBackup(n int) *store.Backup {
	return &store.Backup{ID: hex32(n), Kind: store.VaultCopy, Tenant: vault.TenantID(guid(1)), Vault: vault.ID(hex32(30)), Open: true, Made: noon,
		Expires: noon.Add(time.Duration(n) * time.Hour), Doc: []byte{0, byte(n), 255}}
}

func backupsRoundTrip(e *env) {
	b := newBackup(95)
	check := func() {
		e.Helper()
		e.update(func(tx store.Tx) error { return tx.PutBackup(e.ctx, b) })
		b.Revision++
		e.reopen()
		same(e, "the backup", read(e, func(tx store.Tx) (*store.Backup, error) { return tx.Backup(e.ctx, b.ID) }), b)
	}
	check()
	// Every member changes, and what was set becomes unset.
	b.Kind, b.Tenant, b.Vault, b.Open, b.Made, b.Expires, b.Doc = store.FullBackup, "", "", false, time.Time{}, time.Time{}, []byte("other")
	check()
}

func backupsSelection(e *env) {
	whole, done, elsewhere, kept := newBackup(1), newBackup(2), newBackup(3), newBackup(4)
	whole.Kind, whole.Vault, done.Open, elsewhere.Vault, kept.Expires = store.FullBackup, "", false, vault.ID(hex32(60)), time.Time{}
	e.update(func(tx store.Tx) error {
		return firstOf(tx.PutBackup(e.ctx, whole), tx.PutBackup(e.ctx, done), tx.PutBackup(e.ctx, elsewhere), tx.PutBackup(e.ctx, kept))
	})
	list := func(q store.BackupQuery) (ids string) {
		for _, b := range read(e, func(tx store.Tx) ([]*store.Backup, error) { return tx.Backups(e.ctx, q) }) {
			ids += b.ID[31:]
		}
		return ids
	}
	here := vault.ID(hex32(30))
	same(e, "all", list(store.BackupQuery{}), "4321")
	same(e, "of a kind", list(store.BackupQuery{Kind: store.FullBackup}), "1")
	same(e, "of a vault", list(store.BackupQuery{Vault: here}), "42")
	same(e, "under way", list(store.BackupQuery{Kind: store.VaultCopy, Open: true}), "43")
	same(e, "a page", list(store.BackupQuery{After: hex32(4), Limit: 2}), "32")
	same(e, "that have ended", list(store.BackupQuery{ExpiredAt: noon.Add(2 * time.Hour)}), "21")
}
