package azure

import (
	"context"
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/backup"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
)

// jobPoll is what clients are told to wait between two looks at a job, in seconds.
const jobPoll = "1"

func (h *handler) fullBackupRoutes() []door.Route {
	begin := func(method, pattern, operation string, action authz.Action, input any, summary string, serve func(*door.Request) error) door.Route {
		return door.Route{Method: method, Pattern: pattern, Operation: operation, Action: action.String(), MaxBody: maxUpdateBody, Input: input, Success: http.StatusAccepted,
			Summary: summary, Serve: serve}
	}
	return []door.Route{
		begin("POST", "/backup", "FullBackup", authz.KeyBackup, storageInput{}, "Begins a copy of the vault in a blob container.", h.startBackup(h.backupAll)),
		begin("POST", "/prebackup", "FullBackupCheck", authz.KeyBackup, storageInput{}, "Begins to find out whether the vault could be copied.", h.startBackup(h.checkBackup)),
		begin("PUT", "/restore", "FullRestore", authz.KeyRestore, restoreInput{}, "Begins to bring back what is in a copy and not in the vault.", h.startRestore(h.restoreAll)),
		begin("PUT", "/prerestore", "FullRestoreCheck", authz.KeyRestore, restoreInput{}, "Begins to find out whether a copy could be restored.", h.startRestore(h.checkRestore)),
		begin("PUT", "/keys/{name}/restore", "SelectiveKeyRestore", authz.KeyRestore, restoreInput{}, "Begins to bring one key back from a copy.", h.startRestore(h.restoreOne)),
		{Method: "GET", Pattern: "/backup/{job}/pending", Operation: "FullBackupStatus", Action: authz.KeyBackup.String(), Summary: "Shows how far a copy is.",
			Serve: h.job(backup.Copying)},
		{Method: "GET", Pattern: "/restore/{job}/pending", Operation: "FullRestoreStatus", Action: authz.KeyRestore.String(), Summary: "Shows how far a restore is.",
			Serve: h.job(backup.Restoring)},
	}
}

// storageInput names a blob container and what authorises there.
type storageInput struct {
	Address  string `json:"storageResourceUri"`
	Token    string `json:"token"`
	Identity bool   `json:"useManagedIdentity"`
}

func (in *storageInput) source(folder string) (backup.Source, error) {
	switch {
	case in.Address == "":
		return backup.Source{}, fault.New(fault.Invalid, "the request body has no member \"storageResourceUri\": give the address of a blob container")
	case in.Identity:
		return backup.Source{}, fault.New(fault.Invalid, "useManagedIdentity is not supported, as this server has no identity at a storage service: give a shared access signature in \"token\"")
	}
	return backup.Source{Address: strings.TrimSuffix(in.Address, "/"), Token: in.Token, Folder: folder}, nil
}

// restoreInput has the folder under one of two names.
type restoreInput struct {
	Storage      *storageInput `json:"sasTokenParameters"`
	Folder       string        `json:"folderToRestore,omitempty"`
	SingleFolder string        `json:"folder,omitempty"`
}

type starter func(ctx context.Context, r *door.Request, at backup.Source) (backup.Job, error)

func (h *handler) backupAll(ctx context.Context, r *door.Request, at backup.Source) (backup.Job, error) {
	return h.Backups.Backup(ctx, &r.Call, at)
}

func (h *handler) checkBackup(ctx context.Context, r *door.Request, at backup.Source) (backup.Job, error) {
	return h.Backups.CheckBackup(ctx, &r.Call, at)
}

func (h *handler) restoreAll(ctx context.Context, r *door.Request, at backup.Source) (backup.Job, error) {
	return h.Backups.Restore(ctx, &r.Call, at)
}

func (h *handler) checkRestore(ctx context.Context, r *door.Request, at backup.Source) (backup.Job, error) {
	return h.Backups.CheckRestore(ctx, &r.Call, at)
}

func (h *handler) restoreOne(ctx context.Context, r *door.Request, at backup.Source) (backup.Job, error) {
	return h.Backups.RestoreKey(ctx, &r.Call, r.Params.Get("name"), at)
}

func (h *handler) startBackup(start starter) func(*door.Request) error {
	return func(r *door.Request) error {
		var in storageInput
		if err := r.Decode(&in); err != nil {
			return err
		}
		return h.begin(r, &in, "", start)
	}
}

func (h *handler) startRestore(start starter) func(*door.Request) error {
	return func(r *door.Request) error {
		var in restoreInput
		if err := r.Decode(&in); err != nil {
			return err
		}
		if in.Storage == nil {
			return fault.New(fault.Invalid, "the request body has no member \"sasTokenParameters\": name the blob container in it")
		}
		return h.begin(r, in.Storage, in.Folder+in.SingleFolder, start)
	}
}

// begin starts a job and tells where it can be followed.
func (h *handler) begin(r *door.Request, in *storageInput, folder string, start starter) error {
	at, err := in.source(folder)
	if err != nil {
		return err
	}
	job, err := start(r.HTTP.Context(), r, at)
	if err != nil {
		return err
	}
	r.SetHeader("Azure-Asyncoperation", r.Base+"/"+string(job.Kind)+"/"+job.ID+"/pending?api-version="+r.Call.APIVersion)
	r.SetHeader("Retry-After", jobPoll)
	return r.JSON(http.StatusAccepted, jobOf(&job))
}

// jobBody is a FullBackupOperation, or a RestoreOperation, which has no address.
type jobBody struct {
	Status  string    `json:"status"`
	Details string    `json:"statusDetails"`
	Error   *jobError `json:"error"`
	Started int64     `json:"startTime"`
	Ended   *int64    `json:"endTime"`
	ID      string    `json:"jobId"`
	Address string    `json:"azureStorageBlobContainerUri,omitempty"`
}

type jobError struct {
	Code    string      `json:"code"`
	Message string      `json:"message"`
	Inner   *innerError `json:"innererror,omitempty"`
}

func jobOf(j *backup.Job) jobBody {
	b := jobBody{Status: string(j.Status), Details: j.Details, Started: j.Started.Unix(), ID: j.ID, Address: j.Address}
	if !j.Ended.IsZero() {
		ended := j.Ended.Unix()
		b.Ended = &ended
	}
	if j.Err != nil {
		body := errorOf(j.Err)
		b.Error = &jobError{body.Error.Code, body.Error.Message, body.Error.Inner}
	}
	return b
}

func (h *handler) job(kind backup.JobKind) func(*door.Request) error {
	return func(r *door.Request) error {
		job, err := h.Backups.Job(r.HTTP.Context(), &r.Call, kind, r.Params.Get("job"))
		if err != nil {
			return err
		}
		if job.Status == backup.InProgress {
			r.SetHeader("Retry-After", jobPoll)
		}
		return r.JSON(http.StatusOK, jobOf(&job))
	}
}
