package backup_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/backup"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// another is the service of another node on the same store, or of this one after a restart.
func (w *world) another(node string) *backup.Service {
	w.T.Helper()
	c := w.svc.Config
	c.Node = node
	svc, err := backup.New(c)
	w.do(err)
	w.T.Cleanup(func() { w.do(svc.Stop(context.Background())) })
	return svc
}

// A job is known to every node, and after a restart. The signature that authorises at the container is nowhere.
func TestJobsAreInTheStore(t *testing.T) {
	w := newWorld(t)
	w.fill()
	job := w.ended(w.svc.Backup(w.Ctx, w.call(), w.storage.source("")))
	w.do(w.svc.Stop(w.Ctx))
	other := w.another("node-2")
	w.svc = other
	got, err := other.Job(w.Ctx, w.call(), backup.Copying, job.ID)
	w.do(err)
	if got.Status != backup.Succeeded || got.Details != job.Details || got.Address != job.Address || !got.Ended.Equal(job.Ended) || got.By != string(w.admin.Principal) {
		t.Errorf("after a restart: %+v, was %+v", got, job)
	}
	failed := w.ended(w.svc.Restore(w.Ctx, w.call(), w.storage.source("none")))
	list, err := other.Jobs(w.Ctx, w.call(), "", 10)
	w.do(err)
	if len(list) != 2 || list[0].ID != failed.ID || list[0].Kind != backup.Restoring || list[0].Err == nil || list[1].ID != job.ID {
		t.Errorf("the list: %+v", list)
	}
	w.do(w.Store.View(w.Ctx, func(tx store.Tx) error {
		rows, err := tx.Backups(w.Ctx, store.BackupQuery{})
		for _, row := range rows {
			if bytes.Contains(row.Doc, []byte("s3cret")) {
				t.Error("a row holds the signature")
			}
		}
		return err
	}))
	// A day later they are forgotten.
	w.do(other.Expire(w.Ctx))
	if list, err = other.Jobs(w.Ctx, w.call(), "", 10); err != nil || len(list) != 2 {
		t.Errorf("forgotten too early: %v, %v", list, err)
	}
	w.now.Advance(25 * time.Hour)
	w.do(other.Expire(w.Ctx))
	if list, err = other.Jobs(w.Ctx, w.call(), "", 10); err != nil || len(list) != 0 {
		t.Errorf("a day later: %+v, %v", list, err)
	}
}

// A job whose server died is failed when somebody looks, and not before its lease has run out; another can be begun then.
func TestJobOfAServerThatDied(t *testing.T) {
	w := newWorld(t)
	w.fill()
	job := w.ended(w.svc.Backup(w.Ctx, w.call(), w.storage.source("")))
	// What the process left that died in the midst of it.
	var lease *store.Lease
	w.Change(func(tx store.Tx) (err error) {
		row, err := tx.Backup(w.Ctx, job.ID)
		if err != nil {
			return err
		}
		next := *row
		next.Open, next.Expires, next.Doc = true, time.Time{}, bytes.Replace(row.Doc, []byte(`"Succeeded"`), []byte(`"InProgress"`), 1)
		if err := tx.PutBackup(w.Ctx, &next); err != nil {
			return err
		}
		lease, err = tx.AcquireLease(w.Ctx, "backup/vault/"+string(w.Vault.ID), "node/"+job.ID, time.Hour, 0)
		return err
	})
	other := w.another("node-2")
	if got, err := other.Job(w.Ctx, w.call(), backup.Copying, job.ID); err != nil || got.Status != backup.InProgress {
		t.Errorf("while its lease lasts: %+v, %v", got, err)
	}
	if _, err := other.Backup(w.Ctx, w.call(), w.storage.source("")); !fault.Is(err, fault.Conflict) {
		t.Errorf("another job of the vault: %v", err)
	}
	w.Change(func(tx store.Tx) error { return tx.ReleaseLease(w.Ctx, lease) })
	got, err := other.Job(w.Ctx, w.call(), backup.Copying, job.ID)
	if err != nil || got.Status != backup.Failed || got.Err == nil || got.Err.Kind != fault.Unavailable || got.Ended.IsZero() {
		t.Errorf("when its lease is over: %+v, %v", got, err)
	}
	again, err := other.Backup(w.Ctx, w.call(), w.storage.source(""))
	if j := w.ended(again, err); j.Status != backup.Succeeded {
		t.Errorf("begun again: %+v", j)
	}
}
