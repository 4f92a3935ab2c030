package native

import (
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/redact"
)

// certificateIssuerRoutes has the operations on the issuers and the contacts of a vault's certificates.
func (h *handler) certificateIssuerRoutes() []door.Route {
	const all, contacts = root + "/vaults/{vault}/certificate-issuers", root + "/vaults/{vault}/certificate-contacts"
	return []door.Route{
		{Method: "GET", Pattern: all, Operation: "CertificateIssuersList", Action: authz.IssuerList.String(), Query: pageParams, Output: api.CertificateIssuerList{},
			Summary: "Lists the issuers that were set up in the vault.", Serve: h.listCertificateIssuers},
		{Method: "GET", Pattern: all + "/{name}", Operation: "CertificateIssuerGet", Action: authz.IssuerGet.String(), Output: api.CertificateIssuer{},
			Summary: "Shows an issuer without its password.", Serve: h.getCertificateIssuer},
		{Method: "PUT", Pattern: all + "/{name}", Operation: "CertificateIssuerSet", Action: authz.IssuerWrite.String(), MaxBody: maxSmallBody, Input: api.SetCertificateIssuer{},
			Output: api.CertificateIssuer{}, Summary: "Sets up an issuer, in the place of one of that name.", Serve: h.setCertificateIssuer},
		{Method: "PATCH", Pattern: all + "/{name}", Operation: "CertificateIssuerUpdate", Action: authz.IssuerWrite.String(), MaxBody: maxSmallBody, Input: api.SetCertificateIssuer{},
			Output: api.CertificateIssuer{}, Summary: "Changes what is given of an issuer.", Serve: h.changeCertificateIssuer},
		{Method: "DELETE", Pattern: all + "/{name}", Operation: "CertificateIssuerDelete", Action: authz.IssuerDelete.String(), Output: api.CertificateIssuer{},
			Summary: "Removes an issuer for good.", Serve: h.deleteCertificateIssuer},
		{Method: "GET", Pattern: contacts, Operation: "CertificateContactsGet", Action: authz.ContactsManage.String(), Output: api.CertificateContacts{},
			Summary: "Shows who is told when a certificate is to be seen to.", Serve: h.getCertificateContacts},
		{Method: "PUT", Pattern: contacts, Operation: "CertificateContactsSet", Action: authz.ContactsManage.String(), MaxBody: maxSmallBody, Input: api.CertificateContacts{},
			Output: api.CertificateContacts{}, Summary: "Says who is told when a certificate is to be seen to.", Serve: h.setCertificateContacts},
		{Method: "DELETE", Pattern: contacts, Operation: "CertificateContactsDelete", Action: authz.ContactsManage.String(), Output: api.CertificateContacts{},
			Summary: "Removes the contacts.", Serve: h.deleteCertificateContacts},
	}
}

func settingsChange(in *api.SetCertificateIssuer) cert.SettingsChange {
	ch := cert.SettingsChange{Provider: in.Provider, Account: in.Account, Organization: in.Organization, Options: in.Options, Enabled: in.Enabled}
	if in.Password != nil {
		password := redact.String(*in.Password)
		ch.Password = &password
	}
	if in.Admins != nil {
		ch.Admins = []cert.Admin{}
	}
	for _, a := range in.Admins {
		ch.Admins = append(ch.Admins, cert.Admin(a))
	}
	return ch
}

func wireCertificateIssuer(s *cert.Settings) api.CertificateIssuer {
	out := api.CertificateIssuer{Name: s.Name, Provider: s.Provider, Account: s.Account, Organization: s.Organization, Options: s.Options, Enabled: s.Enabled, Created: s.Created,
		Updated: s.Updated}
	for _, a := range s.Admins {
		out.Admins = append(out.Admins, api.CertificateAdmin(a))
	}
	return out
}

func certificateIssuerAnswer(r *door.Request, s *cert.Settings, err error) error {
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireCertificateIssuer(s))
}

func (h *handler) listCertificateIssuers(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	found, err := h.Certificates.ListIssuers(r.HTTP.Context(), &r.Call, object.Page{After: after, Limit: limit})
	if err != nil {
		return err
	}
	out := api.CertificateIssuerList{Items: make([]api.CertificateIssuer, 0, len(found.Issuers))}
	for _, s := range found.Issuers {
		out.Items = append(out.Items, wireCertificateIssuer(s))
	}
	if found.Next != "" {
		out.Next = next(found.Next)
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) getCertificateIssuer(r *door.Request) error {
	s, err := h.Certificates.Issuer(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return certificateIssuerAnswer(r, s, err)
}

func (h *handler) setCertificateIssuer(r *door.Request) error {
	var in api.SetCertificateIssuer
	if err := r.Decode(&in); err != nil {
		return err
	}
	if in.Provider == nil {
		return fault.New(fault.Invalid, "the request has no member \"provider\": name the kind of authority")
	}
	s, err := h.Certificates.SetIssuer(r.HTTP.Context(), &r.Call, r.Params.Get("name"), settingsChange(&in))
	return certificateIssuerAnswer(r, s, err)
}

func (h *handler) changeCertificateIssuer(r *door.Request) error {
	var in api.SetCertificateIssuer
	if err := r.Decode(&in); err != nil {
		return err
	}
	s, err := h.Certificates.UpdateIssuer(r.HTTP.Context(), &r.Call, r.Params.Get("name"), settingsChange(&in))
	return certificateIssuerAnswer(r, s, err)
}

func (h *handler) deleteCertificateIssuer(r *door.Request) error {
	s, err := h.Certificates.DeleteIssuer(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return certificateIssuerAnswer(r, s, err)
}

func contactsAnswer(r *door.Request, list []cert.Contact, err error) error {
	if err != nil {
		return err
	}
	out := api.CertificateContacts{Items: make([]api.CertificateContact, 0, len(list))}
	for _, c := range list {
		out.Items = append(out.Items, api.CertificateContact(c))
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) getCertificateContacts(r *door.Request) error {
	list, err := h.Certificates.Contacts(r.HTTP.Context(), &r.Call)
	return contactsAnswer(r, list, err)
}

func (h *handler) setCertificateContacts(r *door.Request) error {
	var in api.CertificateContacts
	if err := r.Decode(&in); err != nil {
		return err
	}
	list := make([]cert.Contact, 0, len(in.Items))
	for _, c := range in.Items {
		list = append(list, cert.Contact(c))
	}
	return contactsAnswer(r, list, h.Certificates.SetContacts(r.HTTP.Context(), &r.Call, list))
}

func (h *handler) deleteCertificateContacts(r *door.Request) error {
	list, err := h.Certificates.DeleteContacts(r.HTTP.Context(), &r.Call)
	return contactsAnswer(r, list, err)
}
