package backup

import (
	"context"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
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

	vault vault.ID
}

const (
	// jobsAtOnce bounds the jobs that run at the same time, keptJobs how many are remembered, and keptFor how long after their end.
	jobsAtOnce = 4
	keptJobs   = 1000
	keptFor    = 24 * time.Hour
)

// jobs are those that run, and the last of those that ran.
type jobs struct {
	mu      sync.Mutex
	all     map[string]*Job
	running int
}

// add takes a job up. A vault has one at a time.
func (j *jobs) add(job *Job) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.forget(job.Started)
	for _, other := range j.all {
		if other.vault == job.vault && other.Status == InProgress {
			return fault.New(fault.Conflict, "a %s of this vault is in progress: wait for the job %s to end", other.Kind, other.ID)
		}
	}
	if j.running >= jobsAtOnce || len(j.all) >= keptJobs {
		err := fault.New(fault.Throttled, "as many backups and restores run as the server allows at once, %d: try again later", jobsAtOnce)
		err.RetryAfter = time.Minute
		return err
	}
	if j.all == nil {
		j.all = make(map[string]*Job)
	}
	j.all[job.ID] = job
	j.running++
	return nil
}

// forget drops jobs that ended long ago.
func (j *jobs) forget(now time.Time) {
	for id, job := range j.all {
		if job.Status != InProgress && now.Sub(job.Ended) > keptFor {
			delete(j.all, id)
		}
	}
}

func (j *jobs) end(id string, now time.Time, details string, err *fault.Error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	job := j.all[id]
	job.Status, job.Ended, job.Details, job.Err = Succeeded, now, details, err
	if err != nil {
		job.Status = Failed
	}
	j.running--
}

func (j *jobs) get(v vault.ID, kind JobKind, id string) (Job, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	job, ok := j.all[id]
	if !ok || job.vault != v || job.Kind != kind {
		return Job{}, false
	}
	return *job, true
}

// run starts a job. Stop ends it.
func (s *Service) run(call *guard.Call, job Job, work func(context.Context, *guard.Call) (string, error)) (Job, error) {
	own := *call // the request's own call ends with it
	job.ID, job.Status, job.Started, job.vault = vault.NewGUID(), InProgress, s.Clock.Now(), call.Vault.Vault.ID
	kept := job
	if err := s.jobs.add(&kept); err != nil {
		return Job{}, err
	}
	s.wait.Go(func() {
		details, err := work(s.ctx, &own)
		e := fault.As(err)
		if err != nil && (e == nil || e.Kind == fault.Internal) {
			s.Logger.Error("a "+string(job.Kind)+" of a vault failed", "vault", own.Vault.Vault.Name, "job", job.ID, "error", err)
			e = fault.New(fault.Internal, "an internal error occurred; quote the job's id to the operator")
		}
		s.jobs.end(job.ID, s.Clock.Now(), details, e)
	})
	return job, nil
}

// Job returns a job of the call's vault.
func (s *Service) Job(ctx context.Context, call *guard.Call, kind JobKind, id string) (job Job, err error) {
	need := guard.Need{Action: authz.KeyBackup, Kind: vault.Key}
	if kind == Restoring {
		need.Action = authz.KeyRestore
	}
	err = s.Guard.Read(ctx, call, &need, func() error {
		var ok bool
		if job, ok = s.jobs.get(call.Vault.Vault.ID, kind, id); !ok {
			return fault.New(fault.NotFound, "there is no %s job %q of this vault: a server forgets its jobs a day after their end, and when it is restarted", kind, fault.Clip(id))
		}
		return nil
	})
	return job, err
}
