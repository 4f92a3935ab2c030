package native

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

// maxCertificateFile bounds the body that brings certificates, in bytes: the largest file, in base64, and a policy.
const maxCertificateFile = 1 << 20

func (h *handler) certificateRoutes() []door.Route {
	const live, gone = root + "/vaults/{vault}/certificates", root + "/vaults/{vault}/deleted-certificates"
	const operation = live + "/{name}/operation"
	version := selectorParams[:1]
	return []door.Route{
		{Method: "GET", Pattern: live, Operation: "CertificateList", Action: authz.CertificateList.String(), Query: pageParams, Output: api.CertificateList{},
			Summary: "Lists the certificates of a vault with their current versions, those of which none is made yet among them.", Serve: h.listCertificates(h.Certificates.List)},
		{Method: "POST", Pattern: live + "/{name}", Operation: "CertificateCreate", Action: authz.CertificateCreate.String(), MaxBody: maxLargeBody, Success: http.StatusAccepted,
			Input: api.CreateCertificate{}, Output: api.CertificateOperation{}, Summary: "Begins to make a certificate, or a new version of one.", Serve: h.createCertificate},
		{Method: "PUT", Pattern: live + "/{name}", Operation: "CertificateImport", Action: authz.CertificateImport.String(), MaxBody: maxCertificateFile,
			Input: api.ImportCertificate{}, Output: api.Certificate{}, Summary: "Stores a certificate with its key that was made elsewhere.", Serve: h.importCertificate},
		{Method: "GET", Pattern: live + "/{name}", Operation: "CertificateGet", Class: admission.Read, Action: authz.CertificateGet.String(), Query: version, Output: api.Certificate{},
			Summary: "Shows a certificate without its private key.", Serve: h.getCertificate},
		{Method: "PATCH", Pattern: live + "/{name}", Operation: "CertificateUpdate", Action: authz.CertificateUpdate.String(), MaxBody: maxSmallBody, Query: version,
			Input: api.UpdateCertificate{}, Output: api.Certificate{}, Summary: "Changes what is known about a version.", Serve: h.updateCertificate},
		{Method: "DELETE", Pattern: live + "/{name}", Operation: "CertificateDelete", Action: authz.CertificateDelete.String(), Output: api.Certificate{},
			Summary: "Soft-deletes a certificate with all of its versions, and the key and the secret behind it.", Serve: h.certificateMove(h.Certificates.Delete)},
		{Method: "GET", Pattern: live + "/{name}/versions", Operation: "CertificateListVersions", Action: authz.CertificateList.String(), Query: pageParams, Output: api.CertificateList{},
			Summary: "Lists the versions of a certificate, oldest first.", Serve: h.listCertificateVersions},
		{Method: "GET", Pattern: live + "/{name}/policy", Operation: "CertificatePolicyGet", Action: authz.CertificateGet.String(), Output: api.CertificatePolicy{},
			Summary: "Shows how a certificate is made, and when it is made anew.", Serve: h.getCertificatePolicy},
		{Method: "PATCH", Pattern: live + "/{name}/policy", Operation: "CertificatePolicyUpdate", Action: authz.CertificateUpdate.String(), MaxBody: maxLargeBody,
			Input: api.CertificatePolicy{}, Output: api.CertificatePolicy{}, Summary: "Replaces sections of the policy of a certificate.", Serve: h.changeCertificatePolicy},
		{Method: "GET", Pattern: operation, Operation: "CertificatePendingGet", Action: authz.CertificateGet.String(), Output: api.CertificateOperation{},
			Summary: "Shows how far the making of a certificate has come.", Serve: h.getCertificateOperation},
		{Method: "DELETE", Pattern: operation, Operation: "CertificatePendingDelete", Action: authz.CertificateUpdate.String(), Output: api.CertificateOperation{},
			Summary: "Removes the operation of a certificate.", Serve: h.endCertificateOperation(h.Certificates.DeleteOperation)},
		{Method: "POST", Pattern: operation + "/cancel", Operation: "CertificatePendingCancel", Action: authz.CertificateUpdate.String(), Output: api.CertificateOperation{},
			Summary: "Gives up the making of a certificate. Its key stays for a merge.", Serve: h.endCertificateOperation(h.Certificates.Cancel)},
		{Method: "POST", Pattern: operation + "/merge", Operation: "CertificatePendingMerge", Action: authz.CertificateUpdate.String(), MaxBody: maxCertificateFile,
			Input: api.MergeCertificate{}, Output: api.Certificate{}, Summary: "Completes an operation with what an authority gave.", Serve: h.mergeCertificate},
		{Method: "POST", Pattern: live + "/{name}/backup", Operation: "CertificateBackup", Action: authz.CertificateBackup.String(), Output: api.CertificateBackup{},
			Summary: "Returns a sealed copy of a certificate with all of its versions, keys and secrets.", Serve: backupOf(h.Certificates.Backup, func(blob []byte) api.CertificateBackup { return api.CertificateBackup{Blob: blob} })},
		{Method: "POST", Pattern: root + "/vaults/{vault}/restore-certificate", Operation: "CertificateRestore", Action: authz.CertificateRestore.String(), MaxBody: h.Certificates.MaxBackupBytes,
			Admit: admit(h.Certificates.AdmitRestore),
			Input: api.CertificateBackup{}, Output: api.Certificate{}, Summary: "Brings a certificate back from its backup.", Serve: h.restoreCertificate},
		{Method: "GET", Pattern: gone, Operation: "CertificateListDeleted", Action: authz.CertificateList.String(), Query: pageParams, Output: api.CertificateList{},
			Summary: "Lists the deleted certificates of a vault.", Serve: h.listCertificates(h.Certificates.ListDeleted)},
		{Method: "GET", Pattern: gone + "/{name}", Operation: "CertificateGetDeleted", Action: authz.CertificateGet.String(), Output: api.Certificate{},
			Summary: "Shows a deleted certificate.", Serve: h.certificateMove(h.Certificates.GetDeleted)},
		{Method: "POST", Pattern: gone + "/{name}/recover", Operation: "CertificateRecover", Action: authz.CertificateRecover.String(), Output: api.Certificate{},
			Summary: "Brings a deleted certificate back.", Serve: h.certificateMove(h.Certificates.Recover)},
		{Method: "GET", Pattern: gone + "/{name}/backups", Operation: "CertificateBackups", Action: authz.CertificatePurge.String(), Output: api.Recoverable{},
			Summary: "Tells until when backups can bring a deleted certificate back, were it purged.", Serve: backupsOf(h.Certificates.Backups)},
		{Method: "DELETE", Pattern: gone + "/{name}", Operation: "CertificatePurge", Action: authz.CertificatePurge.String(), Success: http.StatusNoContent,
			Summary: "Destroys a deleted certificate for good.", Serve: purge(h.Certificates.Purge)},
	}
}

func (h *handler) createCertificate(r *door.Request) error {
	var body api.CreateCertificate
	if err := r.Decode(&body); err != nil {
		return err
	}
	o, op, err := h.Certificates.Create(r.HTTP.Context(), &r.Call, r.Params.Get("name"),
		cert.Input{Policy: certificatePolicy(body.Policy), Tags: body.Tags, Enabled: body.Enabled, PreserveOrder: body.PreserveOrder})
	return operationAnswer(r, http.StatusAccepted, o, op, err)
}

func (h *handler) importCertificate(r *door.Request) error {
	var body api.ImportCertificate
	err := r.Decode(&body)
	defer clear(body.File)
	if err != nil {
		return err
	}
	if len(body.File) == 0 {
		return fault.New(fault.Invalid, "the request has no member \"file\": give a PFX or PEM file in base64")
	}
	value := []byte(body.File)
	if !bytes.Contains(value, []byte("-----BEGIN ")) { // the service takes a PFX file as the protocol has it
		value = base64.StdEncoding.AppendEncode(nil, body.File)
		defer clear(value)
	}
	it, p, err := h.Certificates.Import(r.HTTP.Context(), &r.Call, r.Params.Get("name"), cert.File{Value: value, Password: redact.String(body.Password)},
		cert.Input{Policy: certificatePolicy(body.Policy), Tags: body.Tags, Enabled: body.Enabled, PreserveOrder: body.PreserveOrder})
	return certificateAnswer(r, &it, p, err)
}

func (h *handler) getCertificate(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	it, p, err := h.Certificates.Get(r.HTTP.Context(), &r.Call, sel)
	return certificateAnswer(r, &it, p, err)
}

func (h *handler) updateCertificate(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var in api.UpdateCertificate
	if err := r.Decode(&in); err != nil {
		return err
	}
	it, p, err := h.Certificates.Update(r.HTTP.Context(), &r.Call, sel, cert.Change{Tags: in.Tags, Enabled: in.Enabled})
	return certificateAnswer(r, &it, p, err)
}

// certificateMove serves what takes a name alone.
func (h *handler) certificateMove(move func(context.Context, *guard.Call, string) (object.Item, *cert.Policy, error)) func(*door.Request) error {
	return func(r *door.Request) error {
		it, p, err := move(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
		return certificateAnswer(r, &it, p, err)
	}
}

func (h *handler) restoreCertificate(r *door.Request) error {
	var in api.CertificateBackup
	if err := r.Decode(&in); err != nil {
		return err
	}
	it, p, err := h.Certificates.Restore(r.HTTP.Context(), &r.Call, in.Blob)
	return certificateAnswer(r, &it, p, err)
}

func (h *handler) getCertificatePolicy(r *door.Request) error {
	_, p, err := h.Certificates.Policy(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireCertificatePolicy(p))
}

func (h *handler) changeCertificatePolicy(r *door.Request) error {
	var in api.CertificatePolicy
	if err := r.Decode(&in); err != nil {
		return err
	}
	_, p, err := h.Certificates.SetPolicy(r.HTTP.Context(), &r.Call, r.Params.Get("name"), *certificateChange(&in))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireCertificatePolicy(p))
}

func (h *handler) getCertificateOperation(r *door.Request) error {
	o, op, err := h.Certificates.Operation(r.HTTP.Context(), &r.Call, r.Params.Get("name"), "")
	return operationAnswer(r, http.StatusOK, o, op, err)
}

func (h *handler) endCertificateOperation(end func(context.Context, *guard.Call, string) (*vault.Object, *cert.Operation, error)) func(*door.Request) error {
	return func(r *door.Request) error {
		o, op, err := end(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
		return operationAnswer(r, http.StatusOK, o, op, err)
	}
}

func (h *handler) mergeCertificate(r *door.Request) error {
	var in api.MergeCertificate
	if err := r.Decode(&in); err != nil {
		return err
	}
	chain, err := certfile.ReadCertificates([]byte(in.PEM))
	if err != nil {
		return err
	}
	it, err := h.Certificates.Merge(r.HTTP.Context(), &r.Call, r.Params.Get("name"), chain, cert.Input{Tags: in.Tags, Enabled: in.Enabled})
	return certificateAnswer(r, &it, nil, err)
}

// listCertificates answers with a page of what the service lists.
func (h *handler) listCertificates(list lister) func(*door.Request) error {
	return func(r *door.Request) error {
		items, following, err := pageOf(r, list, wireCert)
		if err != nil {
			return err
		}
		for i := range items {
			items[i].PEM = "" // a list tells what there is
		}
		return r.JSON(http.StatusOK, api.CertificateList{Items: items, Next: following})
	}
}

func (h *handler) listCertificateVersions(r *door.Request) error {
	return h.listCertificates(versionsOf(r, h.Certificates.Versions))(r)
}
