package azure

import (
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

const (
	// maxCertificateBody bounds the body that makes or changes a certificate, in bytes: a policy with all the names that it may have.
	maxCertificateBody = 256 << 10
	// maxImportBody bounds the body that imports or merges certificates, in bytes: the largest file, in base64 and JSON, and a policy.
	maxImportBody = 1 << 20
)

// certificateRoutes has every certificate operation of the Key Vault REST API.
func (h *handler) certificateRoutes() []door.Route {
	pending := []door.Param{apiVersionParam, {Name: "request_id", Summary: "The operation that is meant."}}
	return []door.Route{
		{Method: "POST", Pattern: "/certificates/{name}/create", Operation: "CertificateCreate", Action: authz.CertificateCreate.String(), MaxBody: maxCertificateBody, Success: http.StatusAccepted,
			Input: createCertificateInput{}, Summary: "Begins to make a certificate, or a new version of one.", Serve: h.createCertificate},
		{Method: "POST", Pattern: "/certificates/{name}/import", Operation: "CertificateImport", Action: authz.CertificateImport.String(), MaxBody: maxImportBody,
			Input: importCertificateInput{}, Summary: "Stores a certificate with its key that was made elsewhere.", Serve: h.importCertificate},
		{Method: "GET", Pattern: "/certificates/{name}/{version?}", Operation: "CertificateGet", Class: admission.Read, Action: authz.CertificateGet.String(),
			Summary: "Shows a certificate, or one version of it.", Serve: h.getCertificate},
		{Method: "PATCH", Pattern: "/certificates/{name}/{version?}", Operation: "CertificateUpdate", Action: authz.CertificateUpdate.String(), MaxBody: maxCertificateBody,
			Input: updateCertificateInput{}, Summary: "Changes the attributes of the current version, or of one version.", Serve: h.updateCertificate},
		{Method: "GET", Pattern: "/certificates/{name}/policy", Operation: "CertificatePolicyGet", Action: authz.CertificateGet.String(),
			Summary: "Shows how a certificate is made, and when it is renewed.", Serve: h.getCertificatePolicy},
		{Method: "PATCH", Pattern: "/certificates/{name}/policy", Operation: "CertificatePolicyUpdate", Action: authz.CertificateUpdate.String(), MaxBody: maxCertificateBody,
			Input: certificatePolicyBody{}, Summary: "Changes how a certificate is made from its next version on.", Serve: h.updateCertificatePolicy},
		{Method: "GET", Pattern: "/certificates/{name}/pending", Operation: "CertificatePendingGet", Action: authz.CertificateGet.String(), Query: pending,
			Summary: "Shows how far the making of a certificate has come.", Serve: h.getOperation},
		{Method: "PATCH", Pattern: "/certificates/{name}/pending", Operation: "CertificatePendingUpdate", Action: authz.CertificateUpdate.String(), Query: pending, MaxBody: maxUpdateBody,
			Input: cancelInput{}, Summary: "Cancels the making of a certificate.", Serve: h.cancelOperation},
		{Method: "DELETE", Pattern: "/certificates/{name}/pending", Operation: "CertificatePendingDelete", Action: authz.CertificateUpdate.String(),
			Summary: "Removes the operation of a certificate.", Serve: h.deleteOperation},
		{Method: "POST", Pattern: "/certificates/{name}/pending/merge", Operation: "CertificatePendingMerge", Action: authz.CertificateUpdate.String(), MaxBody: maxImportBody, Success: http.StatusCreated,
			Input: mergeInput{}, Summary: "Completes an operation with what an authority gave.", Serve: h.mergeCertificate},
		{Method: "DELETE", Pattern: "/certificates/{name}", Operation: "CertificateDelete", Action: authz.CertificateDelete.String(),
			Summary: "Soft-deletes a certificate with all its versions, and the key and the secret behind it.", Serve: h.deleteCertificate},
		{Method: "GET", Pattern: "/certificates", Operation: "CertificateList", Action: authz.CertificateList.String(),
			Query:   append(pageParams[:len(pageParams):len(pageParams)], door.Param{Name: "includePending", Summary: "Whether certificates are shown whose first version is not made yet."}),
			Summary: "Lists certificates.", Serve: h.listCertificates},
		{Method: "GET", Pattern: "/certificates/{name}/versions", Operation: "CertificateListVersions", Action: authz.CertificateList.String(), Query: pageParams,
			Summary: "Lists the versions of a certificate.", Serve: h.listCertificateVersions},
		{Method: "POST", Pattern: "/certificates/{name}/backup", Operation: "CertificateBackup", Action: authz.CertificateBackup.String(),
			Summary: "Returns a certificate with all its versions, keys and secrets as a sealed blob.", Serve: func(r *door.Request) error { return backUp(r, h.Certificates.Backup) }},
		{Method: "POST", Pattern: "/certificates/restore", Operation: "CertificateRestore", Action: authz.CertificateRestore.String(), MaxBody: h.Certificates.MaxBackupBytes, Input: blob{},
			Admit:   func(r *door.Request) error { return h.Certificates.AdmitRestore(r.HTTP.Context(), &r.Call) },
			Summary: "Brings a certificate back from a blob.", Serve: h.restoreCertificate},
		{Method: "GET", Pattern: "/deletedcertificates", Operation: "CertificateListDeleted", Action: authz.CertificateList.String(), Query: pageParams,
			Summary: "Lists the deleted certificates that can be recovered.", Serve: h.listDeletedCertificates},
		{Method: "GET", Pattern: "/deletedcertificates/{name}", Operation: "CertificateGetDeleted", Action: authz.CertificateGet.String(),
			Summary: "Shows a deleted certificate.", Serve: h.getDeletedCertificate},
		{Method: "POST", Pattern: "/deletedcertificates/{name}/recover", Operation: "CertificateRecover", Action: authz.CertificateRecover.String(),
			Summary: "Brings a deleted certificate back.", Serve: h.recoverCertificate},
		{Method: "DELETE", Pattern: "/deletedcertificates/{name}", Operation: "CertificatePurge", Action: authz.CertificatePurge.String(), Success: http.StatusNoContent,
			Summary: "Destroys a deleted certificate for good.", Serve: h.purgeCertificate},
	}
}

type createCertificateInput struct {
	Policy     *certificatePolicyBody `json:"policy,omitempty"`
	Attributes attributesInput        `json:"attributes,omitempty"`
	Tags       map[string]string      `json:"tags,omitempty"`
	Preserve   bool                   `json:"preserveCertOrder,omitempty"`
}

type importCertificateInput struct {
	Value      *string                `json:"value"`
	Password   string                 `json:"pwd,omitempty"`
	Policy     *certificatePolicyBody `json:"policy,omitempty"`
	Attributes attributesInput        `json:"attributes,omitempty"`
	Tags       map[string]string      `json:"tags,omitempty"`
	Preserve   bool                   `json:"preserveCertOrder,omitempty"`
}

type updateCertificateInput struct {
	Policy     *certificatePolicyBody `json:"policy,omitempty"`
	Attributes attributesInput        `json:"attributes,omitempty"`
	Tags       map[string]string      `json:"tags,omitempty"`
}

type cancelInput struct {
	Cancel *bool `json:"cancellation_requested"`
}

type mergeInput struct {
	X5C        [][]byte          `json:"x5c"`
	Attributes attributesInput   `json:"attributes,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
}

func (h *handler) createCertificate(r *door.Request) error {
	var body createCertificateInput
	if err := r.Decode(&body); err != nil {
		return err
	}
	in := cert.Input{Policy: body.Policy.policy(), Tags: body.Tags, Enabled: body.Attributes.Enabled, PreserveOrder: body.Preserve}
	o, op, err := h.Certificates.Create(r.HTTP.Context(), &r.Call, r.Params.Get("name"), in)
	if err != nil {
		return err
	}
	r.SetHeader("Location", certificateID(r, o.Name)+"/pending?api-version="+r.Call.APIVersion+"&request_id="+string(op.Version))
	return r.JSON(http.StatusAccepted, operationOf(r, o, op))
}

func (h *handler) importCertificate(r *door.Request) error {
	var body importCertificateInput
	if err := r.Decode(&body); err != nil {
		return err
	}
	if body.Value == nil {
		return fault.New(fault.Invalid, "the request body has no member \"value\": give the file, a PFX in base64 or PEM")
	}
	value := []byte(*body.Value)
	defer clear(value)
	it, p, err := h.Certificates.Import(r.HTTP.Context(), &r.Call, r.Params.Get("name"), cert.File{Value: value, Password: redact.String(body.Password)},
		cert.Input{Policy: body.Policy.policy(), Tags: body.Tags, Enabled: body.Attributes.Enabled, PreserveOrder: body.Preserve})
	return h.certificateAnswer(r, http.StatusOK, it, p, err)
}

func (h *handler) getCertificate(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	it, p, err := h.Certificates.Get(r.HTTP.Context(), &r.Call, sel)
	return h.certificateAnswer(r, http.StatusOK, it, p, err)
}

func (h *handler) updateCertificate(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var body updateCertificateInput
	if err := r.Decode(&body); err != nil {
		return err
	}
	it, p, err := h.Certificates.Update(r.HTTP.Context(), &r.Call, sel, cert.Change{Tags: body.Tags, Enabled: body.Attributes.Enabled, Policy: body.Policy.change()})
	return h.certificateAnswer(r, http.StatusOK, it, p, err)
}

func (h *handler) getCertificatePolicy(r *door.Request) error {
	o, p, err := h.Certificates.Policy(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, policyOf(r, o.Name, p))
}

func (h *handler) updateCertificatePolicy(r *door.Request) error {
	var body certificatePolicyBody
	if err := r.Decode(&body); err != nil {
		return err
	}
	o, p, err := h.Certificates.SetPolicy(r.HTTP.Context(), &r.Call, r.Params.Get("name"), *body.change())
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, policyOf(r, o.Name, p))
}

func (h *handler) getOperation(r *door.Request) error {
	var id vault.VersionID
	if s := r.Query("request_id"); s != "" {
		var err error
		if id, err = vault.ParseVersionID(s); err != nil {
			return err
		}
	}
	o, op, err := h.Certificates.Operation(r.HTTP.Context(), &r.Call, r.Params.Get("name"), id)
	return h.operationAnswer(r, o, op, err)
}

func (h *handler) cancelOperation(r *door.Request) error {
	var body cancelInput
	if err := r.Decode(&body); err != nil {
		return err
	}
	if body.Cancel == nil || !*body.Cancel {
		return fault.New(fault.Invalid, "an operation can only be cancelled: give \"cancellation_requested\": true")
	}
	o, op, err := h.Certificates.Cancel(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return h.operationAnswer(r, o, op, err)
}

func (h *handler) deleteOperation(r *door.Request) error {
	o, op, err := h.Certificates.DeleteOperation(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return h.operationAnswer(r, o, op, err)
}

func (h *handler) operationAnswer(r *door.Request, o *vault.Object, op *cert.Operation, err error) error {
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, operationOf(r, o, op))
}

func (h *handler) mergeCertificate(r *door.Request) error {
	var body mergeInput
	if err := r.Decode(&body); err != nil {
		return err
	}
	chain, err := cert.ParseChain(body.X5C)
	if err != nil {
		return err
	}
	name := r.Params.Get("name")
	it, err := h.Certificates.Merge(r.HTTP.Context(), &r.Call, name, chain, cert.Input{Tags: body.Tags, Enabled: body.Attributes.Enabled})
	return h.certificateAnswer(r, http.StatusCreated, it, nil, err)
}

func (h *handler) deleteCertificate(r *door.Request) error {
	it, p, err := h.Certificates.Delete(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return h.deletedCertificateAnswer(r, it, p, err)
}

func (h *handler) getDeletedCertificate(r *door.Request) error {
	it, p, err := h.Certificates.GetDeleted(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return h.deletedCertificateAnswer(r, it, p, err)
}

func (h *handler) recoverCertificate(r *door.Request) error {
	it, p, err := h.Certificates.Recover(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return h.certificateAnswer(r, http.StatusOK, it, p, err)
}

func (h *handler) purgeCertificate(r *door.Request) error {
	if err := h.Certificates.Purge(r.HTTP.Context(), &r.Call, r.Params.Get("name")); err != nil {
		return err
	}
	r.Raw(http.StatusNoContent, nil)
	return nil
}

func (h *handler) restoreCertificate(r *door.Request) error {
	b, err := backupOf(r)
	if err != nil {
		return err
	}
	it, p, err := h.Certificates.Restore(r.HTTP.Context(), &r.Call, b)
	return h.certificateAnswer(r, http.StatusOK, it, p, err)
}

func (h *handler) listCertificates(r *door.Request) error {
	if strings.EqualFold(r.Query("includePending"), "true") {
		return h.answerList(r, "/certificates?includePending=true", h.Certificates.List, (*encoder).certificateItem)
	}
	return h.answerList(r, "/certificates", h.Certificates.ListMade, (*encoder).certificateItem)
}

func (h *handler) listDeletedCertificates(r *door.Request) error {
	return h.answerList(r, "/deletedcertificates", h.Certificates.ListDeleted, (*encoder).deletedCertificateItem)
}

func (h *handler) listCertificateVersions(r *door.Request) error {
	return h.answerVersions(r, certificates, h.Certificates.Versions, (*encoder).certificateVersionItem)
}
