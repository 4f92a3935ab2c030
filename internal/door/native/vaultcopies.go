package native

import (
	"context"
	"net/http"
	"strings"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/backup"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
)

func (h *handler) vaultCopyRoutes() []door.Route {
	const jobs = root + "/vaults/{vault}/copy-jobs"
	return []door.Route{
		{Method: "POST", Pattern: root + "/vaults/{vault}/copy", Operation: "VaultCopy", Action: authz.KeyBackup.String(), MaxBody: maxSmallBody, Input: api.VaultContainer{},
			Output: api.VaultJob{}, Success: http.StatusAccepted, Summary: "Begins a copy of the vault in a blob container.", Serve: h.beginCopy(false)},
		{Method: "POST", Pattern: root + "/vaults/{vault}/copy-restore", Operation: "VaultCopyRestore", Action: authz.KeyRestore.String(), MaxBody: maxSmallBody, Input: api.VaultContainer{},
			Output: api.VaultJob{}, Success: http.StatusAccepted, Summary: "Begins to bring back what is in a copy and not in the vault.", Serve: h.beginCopy(true)},
		{Method: "GET", Pattern: jobs, Operation: "VaultCopyJobList", Action: authz.KeyBackup.String(), Query: pageParams, Output: api.VaultJobPage{},
			Summary: "Lists the copies and restores of the vault of the last day, newest first.", Serve: h.listCopyJobs},
		{Method: "GET", Pattern: jobs + "/{job}", Operation: "VaultCopyJobGet", Action: authz.KeyBackup.String(), Output: api.VaultJob{},
			Summary: "Shows how far a copy of the vault is, or with the kind restore, a restore.", Serve: h.getCopyJob,
			Query: []door.Param{{Name: "kind", Summary: "backup or restore; backup when absent."}}},
	}
}

func wireJob(j *backup.Job) *api.VaultJob {
	out := &api.VaultJob{ID: j.ID, Kind: string(j.Kind), Status: string(j.Status), Vault: j.Vault, By: j.By, Started: j.Started, Ended: optional(j.Ended), Details: j.Details,
		Address: j.Address}
	if j.Err != nil {
		out.Error = j.Err.Message
	}
	return out
}

func (h *handler) beginCopy(restore bool) func(*door.Request) error {
	return func(r *door.Request) error {
		var in api.VaultContainer
		if err := r.Decode(&in); err != nil {
			return err
		}
		if in.Address == "" {
			return fault.New(fault.Invalid, "the request names no container: give its address")
		}
		at := backup.Source{Address: strings.TrimSuffix(in.Address, "/"), Token: in.Token, Folder: in.Folder}
		var begin func(context.Context, *guard.Call, backup.Source) (backup.Job, error) = h.Copies.Backup
		if restore {
			begin = h.Copies.Restore
		}
		job, err := begin(r.HTTP.Context(), &r.Call, at)
		if err != nil {
			return err
		}
		return r.JSON(http.StatusAccepted, wireJob(&job))
	}
}

func (h *handler) listCopyJobs(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	list, err := h.Copies.Jobs(r.HTTP.Context(), &r.Call, after, limit)
	if err != nil {
		return err
	}
	out := api.VaultJobPage{Items: make([]api.VaultJob, 0, len(list))}
	for i := range list {
		out.Items = append(out.Items, *wireJob(&list[i]))
	}
	if len(list) == limit {
		out.Next = next(list[limit-1].ID)
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) getCopyJob(r *door.Request) error {
	kind := backup.Copying
	switch text := r.Query("kind"); text {
	case "", string(backup.Copying):
	case string(backup.Restoring):
		kind = backup.Restoring
	default:
		return fault.New(fault.Invalid, "the kind %q is not one of backup and restore", fault.Clip(text))
	}
	job, err := h.Copies.Job(r.HTTP.Context(), &r.Call, kind, r.Params.Get("job"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireJob(&job))
}
