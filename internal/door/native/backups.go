package native

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/backup/full"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
)

func (h *handler) backupRoutes() []door.Route {
	const all, one = root + "/backups", root + "/backups/{backup}"
	forget := door.Param{Name: "forget", Summary: "true to forget a backup whose file this node does not have."}
	return []door.Route{
		{Method: "GET", Pattern: all, Operation: "BackupList", Action: authz.BackupRead.String(), Query: pageParams, Output: api.BackupPage{},
			Summary: "Lists the backups of the installation, newest first.", Serve: h.listBackups},
		{Method: "POST", Pattern: all, Operation: "BackupCreate", Action: authz.BackupWrite.String(), MaxBody: maxSmallBody, Input: api.CreateBackup{}, Output: api.Backup{},
			Success: http.StatusAccepted, Summary: "Begins a backup of the installation.", Serve: h.createBackup},
		{Method: "GET", Pattern: one, Operation: "BackupGet", Action: authz.BackupRead.String(), Output: api.Backup{}, Summary: "Shows a backup, and how far it is.",
			Serve: h.getBackup},
		{Method: "GET", Pattern: one + "/content", Operation: "BackupDownload", Action: authz.BackupDownload.String(),
			Summary: "Returns the file of a backup, as encrypted as it is.", Serve: h.downloadBackup},
		{Method: "POST", Pattern: one + "/verify", Operation: "BackupVerify", Action: authz.BackupVerify.String(), MaxBody: maxSmallBody, Input: api.VerifyBackup{}, Output: api.Backup{},
			Success: http.StatusAccepted, Summary: "Begins a proof of a backup: it is restored into a scratch store, and its values are opened.", Serve: h.verifyBackup},
		{Method: "DELETE", Pattern: one, Operation: "BackupDelete", Action: authz.BackupDelete.String(), Success: http.StatusNoContent, Query: []door.Param{forget},
			Summary: "Deletes a backup and its file.", Serve: h.deleteBackup},
	}
}

func wireBackup(b *full.Backup) *api.Backup {
	out := &api.Backup{ID: b.ID, State: string(b.State), Made: b.Made, Ended: optional(b.Ended), Expires: optional(b.Expires), Node: b.Node, File: b.File, By: b.By, Release: b.Release,
		Seal: b.Seal, Recipients: b.To, Rows: b.Rows, Bytes: b.Bytes, Error: b.Error, HeldKeys: len(b.Needs)}
	if p := b.Proof; p != nil {
		out.Proof = &api.BackupProof{State: string(p.State), Started: p.Started, Ended: optional(p.Ended), Node: p.Node, Rows: p.Rows, Error: p.Error}
		if p.Report != nil {
			out.Proof.Report = BackupReport(p.Report)
		}
	}
	return out
}

// BackupReport is a proof's report as the API shows it.
func BackupReport(r *full.Report) *api.BackupReport {
	out := &api.BackupReport{OK: r.OK(), Backup: r.Header.ID, Made: r.Header.Made, Release: r.Header.Release, Engine: r.Header.Engine, Seal: r.Header.Seal, Rows: r.Rows, Vaults: r.Vaults,
		Objects: r.Objects, Versions: r.Versions, Opened: r.Opened, Keys: r.Keys, Tombstones: r.Tombstones, Checkpoints: r.Checkpoints, Wrong: r.Wrong, Problems: r.Problems,
		Millis: r.Took.Milliseconds()}
	for _, t := range r.Tables {
		out.Tables = append(out.Tables, api.BackupTable{Name: t.Name, Rows: t.Rows, Digest: t.Digest})
	}
	return out
}

func (h *handler) listBackups(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	list, err := h.Backups.List(r.HTTP.Context(), &r.Call, after, limit)
	if err != nil {
		return err
	}
	out := api.BackupPage{Items: make([]api.Backup, 0, len(list))}
	for _, b := range list {
		out.Items = append(out.Items, *wireBackup(b))
	}
	if len(list) == limit {
		out.Next = next(list[limit-1].ID)
	}
	return r.JSON(http.StatusOK, out)
}

// maxKeepHours is a century: more is a mistake, and would not fit into a duration some day.
const maxKeepHours = 100 * 366 * 24

func (h *handler) createBackup(r *door.Request) error {
	var in api.CreateBackup
	if err := r.Decode(&in); err != nil {
		return err
	}
	if in.KeepHours < 0 || in.KeepHours > maxKeepHours {
		return fault.New(fault.Invalid, "a backup cannot be kept for %d hours: give 1 to %d, or 0 for the server's setting", in.KeepHours, maxKeepHours)
	}
	b, err := h.Backups.Create(r.HTTP.Context(), &r.Call, time.Duration(in.KeepHours)*time.Hour)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusAccepted, wireBackup(b))
}

func (h *handler) getBackup(r *door.Request) error {
	b, err := h.Backups.Get(r.HTTP.Context(), &r.Call, r.Params.Get("backup"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireBackup(b))
}

func (h *handler) downloadBackup(r *door.Request) error {
	f, size, err := h.Backups.Content(r.HTTP.Context(), &r.Call, r.Params.Get("backup"))
	if err != nil {
		return err
	}
	defer f.Close()
	r.Header().Set("Content-Type", "application/octet-stream")
	r.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if _, err := io.Copy(&steady{r.Writer(), http.NewResponseController(r.Writer())}, f); err != nil {
		h.Logger.WarnContext(r.HTTP.Context(), "the download of a backup ended early", "correlation", r.Call.Correlation, "error", err)
		panic(http.ErrAbortHandler) // the client must see that the file is not whole
	}
	return nil
}

func (h *handler) verifyBackup(r *door.Request) error {
	var in api.VerifyBackup
	if err := r.Decode(&in); err != nil {
		return err
	}
	if in.Sample < 0 {
		return fault.New(fault.Invalid, "a sample of %d values cannot be opened: give a number, or 0 for all", in.Sample)
	}
	b, err := h.Backups.Verify(r.HTTP.Context(), &r.Call, r.Params.Get("backup"), in.Sample)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusAccepted, wireBackup(b))
}

func (h *handler) deleteBackup(r *door.Request) error {
	return done(r, h.Backups.Delete(r.HTTP.Context(), &r.Call, r.Params.Get("backup"), r.Query("forget") == "true"))
}
