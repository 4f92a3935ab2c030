package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// JobKind says what a job does.
type JobKind string

// The kinds of jobs. A check is of the kind of what it is for.
const (
	Copying   JobKind = "backup"
	Restoring JobKind = "restore"
)

// Status is how far a job is.
type Status string

// The statuses (Key Vault REST API, OperationStatus).
const (
	InProgress Status = "InProgress"
	Succeeded  Status = "Succeeded"
	Failed     Status = "Failed"
)

// Job is a copy, a restore, or a check before one.
type Job struct {
	ID   string
	Kind JobKind
	Status
	// Details says in a sentence what was done. Err is why the job failed: a fault without what authorises at the container.
	Details string
	Err     *fault.Error
	// Started is when it began, Ended when it was over; zero before.
	Started, Ended time.Time
	// Address is where a copy lies, or shall lie.
	Address string
	// Vault is the name of the vault, By the principal who began it.
	Vault, By string

	revision int64
}

const (
	// jobsAtOnce bounds the jobs that a server runs at the same time, keptFor is how long a job is remembered after its end.
	jobsAtOnce = 4
	keptFor    = 24 * time.Hour
	// maxDetails bounds what is kept of an outcome, in bytes.
	maxDetails = 4096
)

// leasing is how long the lease of a job lasts, and how often its worker renews it. A variable, so that tests need not wait.
var leasing = struct{ ttl, slack, renew time.Duration }{30 * time.Second, 5 * time.Second, 10 * time.Second}

// leaseName is that of the work on a vault: one job at a time, over all nodes.
func leaseName(v vault.ID) string { return "backup/vault/" + string(v) }

// jobDoc is what is stored of a job beside its row.
type jobDoc struct {
	Status    Status
	Vault, By string
	Details   string       `json:",omitempty"`
	Kind      fault.Kind   `json:",omitempty"`
	Reason    fault.Reason `json:",omitempty"`
	Error     string       `json:",omitempty"`
	Address   string       `json:",omitempty"`
	Ended     time.Time    `json:",omitzero"`
}

var rowKinds = map[JobKind]store.BackupKind{Copying: store.VaultCopy, Restoring: store.VaultRestore}

func (j *Job) row(v *vault.Vault) (*store.Backup, error) {
	d := jobDoc{Status: j.Status, Vault: j.Vault, By: j.By, Details: fault.Clip(j.Details), Address: j.Address, Ended: j.Ended}
	if len(j.Details) <= maxDetails {
		d.Details = j.Details
	}
	if j.Err != nil {
		d.Kind, d.Reason, d.Error = j.Err.Kind, j.Err.Reason, j.Err.Message
	}
	doc, err := json.Marshal(&d)
	row := &store.Backup{ID: j.ID, Kind: rowKinds[j.Kind], Tenant: v.Tenant, Vault: v.ID, Open: j.Status == InProgress, Made: j.Started, Revision: j.revision, Doc: doc}
	if !j.Ended.IsZero() {
		row.Expires = j.Ended.Add(keptFor)
	}
	return row, err
}

func jobOf(row *store.Backup) (*Job, error) {
	var d jobDoc
	if err := json.Unmarshal(row.Doc, &d); err != nil {
		return nil, fmt.Errorf("decoding the job %s: %w", row.ID, err)
	}
	j := &Job{ID: row.ID, Kind: Copying, Status: d.Status, Details: d.Details, Started: row.Made, Ended: d.Ended, Address: d.Address, Vault: d.Vault, By: d.By, revision: row.Revision}
	if row.Kind == store.VaultRestore {
		j.Kind = Restoring
	}
	if d.Error != "" {
		j.Err = &fault.Error{Kind: d.Kind, Reason: d.Reason, Message: d.Error}
	}
	return j, nil
}

// update commits fn and resolves an ambiguous answer.
func (s *Service) update(ctx context.Context, fn func(store.Tx) error) error {
	op := store.NewOp(s.Clock.Now())
	err := s.Store.Update(ctx, op, fn)
	if errors.Is(err, store.ErrCommitted) {
		return nil
	}
	if fault.Is(err, fault.Unavailable) {
		if done, asked := s.Store.Committed(ctx, op.ID); asked == nil && done {
			return nil
		}
	}
	return err
}

func isReason(err error, reason fault.Reason) bool {
	e := fault.As(err)
	return e != nil && e.Reason == reason
}

// add takes a job up. A vault has one at a time.
func (s *Service) add(ctx context.Context, job *Job, v *vault.Vault) (lease *store.Lease, err error) {
	if s.running.Add(1) > jobsAtOnce {
		s.running.Add(-1)
		err := fault.New(fault.Throttled, "as many backups and restores run as the server allows at once, %d: try again later", jobsAtOnce)
		err.RetryAfter = time.Minute
		return nil, err
	}
	row, err := job.row(v)
	if err == nil {
		err = s.update(ctx, func(tx store.Tx) (err error) {
			if lease, err = tx.AcquireLease(ctx, leaseName(v.ID), s.Node+"/"+job.ID, leasing.ttl, leasing.slack); isReason(err, store.LeaseHeld) {
				return s.busy(ctx, tx, v)
			}
			if err != nil {
				return err
			}
			// Of jobs before it, whose workers are gone, nobody else tells.
			if err := s.abandon(ctx, tx, v); err != nil {
				return err
			}
			return tx.PutBackup(ctx, row)
		})
	}
	if err != nil {
		s.running.Add(-1)
	}
	job.revision++
	return lease, err
}

// busy says which job of the vault runs.
func (s *Service) busy(ctx context.Context, tx store.Tx, v *vault.Vault) error {
	rows, err := tx.Backups(ctx, store.BackupQuery{Vault: v.ID, Open: true, Limit: 1})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return fault.New(fault.Conflict, "a backup or restore of this vault is ending: try again")
	}
	other, err := jobOf(rows[0])
	if err != nil {
		return err
	}
	return fault.New(fault.Conflict, "a %s of this vault is in progress: wait for the job %s to end", other.Kind, other.ID)
}

// abandon ends the vault's jobs that are in progress for nobody: the caller has their lease.
func (s *Service) abandon(ctx context.Context, tx store.Tx, v *vault.Vault) error {
	rows, err := tx.Backups(ctx, store.BackupQuery{Vault: v.ID, Open: true})
	if err != nil {
		return err
	}
	for _, row := range rows {
		j, err := jobOf(row)
		if err != nil {
			return err
		}
		j.Status, j.Ended = Failed, clock.Micro(s.Clock.Now())
		j.Err = fault.New(fault.Unavailable, "the server that ran it ended before it was done: begin again; a copy without a manifest counts for nothing, and a restore passes over what is done")
		if row, err = j.row(v); err != nil {
			return err
		}
		if err := tx.PutBackup(ctx, row); err != nil {
			return err
		}
	}
	return nil
}

// run starts a job. Stop ends it.
func (s *Service) run(call *guard.Call, job Job, work func(context.Context, *guard.Call) (string, error)) (Job, error) {
	own := *call // the request's own call ends with it
	v := own.Vault.Vault
	job.ID, job.Status, job.Started = string(vault.NewVersionID(s.Clock.Now())), InProgress, clock.Micro(s.Clock.Now())
	job.Vault, job.By = v.Name, string(call.Caller.Principal)
	lease, err := s.add(s.ctx, &job, v)
	if err != nil {
		return Job{}, err
	}
	kept := job
	s.wait.Go(func() {
		defer s.running.Add(-1)
		ctx, cancel := context.WithCancel(s.ctx)
		renewing := make(chan struct{})
		go func() {
			defer close(renewing)
			s.renewLease(ctx, cancel, lease)
		}()
		details, err := work(ctx, &own)
		cancel()
		<-renewing
		e := fault.As(err)
		if err != nil && (e == nil || e.Kind == fault.Internal) {
			s.Logger.Error("a "+string(kept.Kind)+" of a vault failed", "vault", v.Name, "job", kept.ID, "error", err)
			e = fault.New(fault.Internal, "an internal error occurred; quote the job's id to the operator")
		}
		if s.ctx.Err() != nil && err != nil {
			e = fault.New(fault.Unavailable, "the server was ended before the job was done: begin again")
		}
		kept.Status, kept.Ended, kept.Details, kept.Err = Succeeded, clock.Micro(s.Clock.Now()), details, e
		if e != nil {
			kept.Status = Failed
		}
		s.end(&kept, v, lease)
	})
	return job, nil
}

// renewLease keeps the lease until ctx ends, and cancels the work when it is lost.
func (s *Service) renewLease(ctx context.Context, cancel func(), l *store.Lease) {
	ticker := time.NewTicker(leasing.renew)
	defer ticker.Stop()
	held := time.Now().Add(leasing.ttl)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		asked := time.Now()
		err := s.update(ctx, func(tx store.Tx) error { _, err := tx.RenewLease(ctx, l, leasing.ttl); return err })
		switch {
		case err == nil:
			held = asked.Add(leasing.ttl)
		case isReason(err, store.LeaseLost), time.Now().After(held):
			cancel()
			return
		}
	}
}

// endTimeout bounds how long the end of a job tries to be stored; who asks for a job that was not ended finds that its lease has run out.
const endTimeout = 3 * time.Second

func (s *Service) end(j *Job, v *vault.Vault, lease *store.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), endTimeout)
	defer cancel()
	row, err := j.row(v)
	if err == nil {
		err = s.update(ctx, func(tx store.Tx) error {
			if err := tx.CheckLease(ctx, lease); err != nil {
				return err
			}
			if err := tx.PutBackup(ctx, row); err != nil {
				return err
			}
			return tx.ReleaseLease(ctx, lease)
		})
	}
	if err != nil {
		s.Logger.Error("the end of a job could not be stored: it counts as failed when its lease has run out", "vault", v.Name, "job", j.ID, "error", err)
	}
}

// look finds a job, and ends those of the vault that nobody works on.
func (s *Service) look(ctx context.Context, v *vault.Vault, id string) (job *Job, err error) {
	read := func(tx store.Tx) error {
		row, err := tx.Backup(ctx, id)
		if err == nil && row.Vault != v.ID {
			err = fault.New(fault.NotFound, "there is no job %q of this vault", fault.Clip(id))
		}
		if err == nil {
			job, err = jobOf(row)
		}
		return err
	}
	if err = s.Store.View(ctx, read); err != nil || job.Status != InProgress {
		return job, err
	}
	err = s.update(ctx, func(tx store.Tx) error {
		lease, err := tx.AcquireLease(ctx, leaseName(v.ID), s.Node+"/look/"+vault.NewGUID(), leasing.ttl, leasing.slack)
		if isReason(err, store.LeaseHeld) {
			return nil // somebody works on it
		}
		if err != nil {
			return err
		}
		if err := s.abandon(ctx, tx, v); err != nil {
			return err
		}
		if err := tx.ReleaseLease(ctx, lease); err != nil {
			return err
		}
		return read(tx)
	})
	return job, err
}

// Expire forgets jobs that ended long ago.
func (s *Service) Expire(ctx context.Context) error {
	for _, kind := range []store.BackupKind{store.VaultCopy, store.VaultRestore} {
		var n int
		for {
			err := s.update(ctx, func(tx store.Tx) error {
				rows, err := tx.Backups(ctx, store.BackupQuery{Kind: kind, ExpiredAt: s.Clock.Now(), Limit: expiredAtOnce})
				for _, row := range rows {
					if err == nil {
						err = tx.DeleteBackup(ctx, row.ID)
					}
				}
				n = len(rows)
				return err
			})
			if err != nil {
				return err
			}
			if n < expiredAtOnce {
				break
			}
		}
	}
	return nil
}

const expiredAtOnce = 256

// Jobs lists the jobs of the call's vault that are remembered, newest first.
func (s *Service) Jobs(ctx context.Context, call *guard.Call, after string, limit int) (list []Job, err error) {
	need := guard.Need{Action: authz.KeyBackup, Kind: vault.Key}
	err = s.Guard.Read(ctx, call, &need, func() error {
		var rows []*store.Backup
		if err := s.Store.View(ctx, func(tx store.Tx) (err error) {
			rows, err = tx.Backups(ctx, store.BackupQuery{Vault: call.Vault.Vault.ID, After: after, Limit: limit})
			return err
		}); err != nil {
			return err
		}
		for _, row := range rows {
			j, err := s.look(ctx, call.Vault.Vault, row.ID)
			if err != nil {
				return err
			}
			list = append(list, *j)
		}
		return nil
	})
	return list, err
}

// Job returns a job of the call's vault.
func (s *Service) Job(ctx context.Context, call *guard.Call, kind JobKind, id string) (job Job, err error) {
	need := guard.Need{Action: authz.KeyBackup, Kind: vault.Key}
	if kind == Restoring {
		need.Action = authz.KeyRestore
	}
	err = s.Guard.Read(ctx, call, &need, func() error {
		found, err := s.look(ctx, call.Vault.Vault, id)
		if fault.Is(err, fault.NotFound) || err == nil && found.Kind != kind {
			return fault.New(fault.NotFound, "there is no %s job %q of this vault: jobs are forgotten a day after their end", kind, fault.Clip(id))
		}
		if err != nil {
			return err
		}
		job = *found
		return nil
	})
	return job, err
}
