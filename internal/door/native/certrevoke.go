package native

import (
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
)

// certificateRevokeRoutes has what takes certificates back.
func (h *handler) certificateRevokeRoutes() []door.Route {
	return []door.Route{
		{Method: "POST", Pattern: root + "/vaults/{vault}/certificates/{name}/revoke", Operation: "CertificateRevoke", Action: authz.CertificateDelete.String(), MaxBody: maxSmallBody,
			Query: selectorParams[:1], Input: api.RevokeCertificate{}, Output: api.Certificate{},
			Summary: "Has a version of a certificate taken back by its issuer, the current one when none is named.", Serve: h.revokeCertificate},
	}
}

// revocationReasons are the words for the reasons, as RFC 5280, section 5.3.1, spells them.
var revocationReasons = map[string]issuer.Reason{
	"": issuer.Unspecified, "unspecified": issuer.Unspecified, "keyCompromise": issuer.KeyCompromise, "cACompromise": issuer.CACompromise,
	"affiliationChanged": issuer.AffiliationChanged, "superseded": issuer.Superseded, "cessationOfOperation": issuer.CessationOfOperation,
	"privilegeWithdrawn": issuer.PrivilegeWithdrawn, "aACompromise": issuer.AACompromise,
}

func revocationReason(word string) (issuer.Reason, error) {
	reason, ok := revocationReasons[word]
	if !ok {
		return 0, fault.New(fault.Invalid, "certificates are not revoked for the reason %q: use unspecified, keyCompromise, cACompromise, affiliationChanged, superseded, "+
			"cessationOfOperation, privilegeWithdrawn or aACompromise", fault.Clip(word))
	}
	return reason, nil
}

func (h *handler) revokeCertificate(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var in api.RevokeCertificate
	if err := r.Decode(&in); err != nil {
		return err
	}
	reason, err := revocationReason(in.Reason)
	if err != nil {
		return err
	}
	it, err := h.Certificates.Revoke(r.HTTP.Context(), &r.Call, sel, reason)
	return certificateAnswer(r, &it, nil, err)
}
