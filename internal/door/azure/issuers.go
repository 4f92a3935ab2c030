package azure

import (
	"net/http"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
)

// issuerRoutes has the operations on the issuers and the contacts of a vault's certificates.
func (h *handler) issuerRoutes() []door.Route {
	return []door.Route{
		{Method: "GET", Pattern: "/certificates/issuers", Operation: "CertificateIssuersList", Action: authz.IssuerList.String(), Query: pageParams,
			Summary: "Lists the issuers that were set up in the vault.", Serve: h.listIssuers},
		{Method: "GET", Pattern: "/certificates/issuers/{name}", Operation: "CertificateIssuerGet", Action: authz.IssuerGet.String(),
			Summary: "Shows an issuer without its password.", Serve: h.getIssuer},
		{Method: "PUT", Pattern: "/certificates/issuers/{name}", Operation: "CertificateIssuerSet", Action: authz.IssuerWrite.String(), MaxBody: maxCertificateBody, Input: issuerBody{},
			Summary: "Sets up an issuer.", Serve: h.setIssuer},
		{Method: "PATCH", Pattern: "/certificates/issuers/{name}", Operation: "CertificateIssuerUpdate", Action: authz.IssuerWrite.String(), MaxBody: maxCertificateBody, Input: issuerBody{},
			Summary: "Changes an issuer.", Serve: h.updateIssuer},
		{Method: "DELETE", Pattern: "/certificates/issuers/{name}", Operation: "CertificateIssuerDelete", Action: authz.IssuerDelete.String(),
			Summary: "Removes an issuer.", Serve: h.deleteIssuer},
		{Method: "GET", Pattern: "/certificates/contacts", Operation: "CertificateContactsGet", Action: authz.ContactsManage.String(),
			Summary: "Shows who is told of certificates that are to be seen to.", Serve: h.getContacts},
		{Method: "PUT", Pattern: "/certificates/contacts", Operation: "CertificateContactsSet", Action: authz.ContactsManage.String(), MaxBody: maxCertificateBody, Input: contactsBody{},
			Summary: "Says who is told of certificates that are to be seen to.", Serve: h.setContacts},
		{Method: "DELETE", Pattern: "/certificates/contacts", Operation: "CertificateContactsDelete", Action: authz.ContactsManage.String(),
			Summary: "Removes the contacts.", Serve: h.deleteContacts},
	}
}

type issuerBody struct {
	ID           string            `json:"id,omitempty"`
	Provider     *string           `json:"provider,omitempty"`
	Credentials  *credentialsBody  `json:"credentials,omitempty"`
	Organization *organizationBody `json:"org_details,omitempty"`
	Attributes   *attributesBody   `json:"attributes,omitempty"`
	// Settings is of this server alone: what a provider wants to know beyond the rest.
	Settings map[string]string `json:"keywright_settings,omitempty"`
}

type credentialsBody struct {
	Account  *string `json:"account_id,omitempty"`
	Password *string `json:"pwd,omitempty"`
}

type organizationBody struct {
	ID     *string     `json:"id,omitempty"`
	Admins []adminBody `json:"admin_details,omitempty"`
}

type adminBody struct {
	FirstName string `json:"first_name,omitempty"`
	LastName  string `json:"last_name,omitempty"`
	Email     string `json:"email,omitempty"`
	Phone     string `json:"phone,omitempty"`
}

func (b *issuerBody) change() cert.SettingsChange {
	ch := cert.SettingsChange{Provider: b.Provider, Options: b.Settings}
	if c := b.Credentials; c != nil {
		ch.Account = c.Account
		if c.Password != nil {
			password := redact.String(*c.Password)
			ch.Password = &password
		}
	}
	if o := b.Organization; o != nil {
		ch.Organization = o.ID
		for _, a := range o.Admins {
			ch.Admins = append(ch.Admins, cert.Admin(a))
		}
	}
	if b.Attributes != nil {
		ch.Enabled = b.Attributes.Enabled
	}
	return ch
}

func issuerID(r *door.Request, name string) string {
	return r.Base + "/" + certificates + "/issuers/" + name
}

func issuerOf(r *door.Request, s *cert.Settings) *issuerBody {
	b := &issuerBody{ID: issuerID(r, s.Name), Provider: &s.Provider, Settings: s.Options,
		Attributes: &attributesBody{Enabled: &s.Enabled, Created: instant(s.Created), Updated: instant(s.Updated)}}
	if s.Account != "" {
		b.Credentials = &credentialsBody{Account: &s.Account}
	}
	if s.Organization != "" || len(s.Admins) > 0 {
		b.Organization = &organizationBody{}
		if s.Organization != "" {
			b.Organization.ID = &s.Organization
		}
		for _, a := range s.Admins {
			b.Organization.Admins = append(b.Organization.Admins, adminBody(a))
		}
	}
	return b
}

func (h *handler) issuerAnswer(r *door.Request, s *cert.Settings, err error) error {
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, issuerOf(r, s))
}

func (h *handler) getIssuer(r *door.Request) error {
	s, err := h.Certificates.Issuer(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return h.issuerAnswer(r, s, err)
}

func (h *handler) setIssuer(r *door.Request) error {
	var body issuerBody
	if err := r.Decode(&body); err != nil {
		return err
	}
	if body.Provider == nil {
		return fault.New(fault.Invalid, "the request body has no member \"provider\": name the kind of authority")
	}
	s, err := h.Certificates.SetIssuer(r.HTTP.Context(), &r.Call, r.Params.Get("name"), body.change())
	return h.issuerAnswer(r, s, err)
}

func (h *handler) updateIssuer(r *door.Request) error {
	var body issuerBody
	if err := r.Decode(&body); err != nil {
		return err
	}
	s, err := h.Certificates.UpdateIssuer(r.HTTP.Context(), &r.Call, r.Params.Get("name"), body.change())
	return h.issuerAnswer(r, s, err)
}

func (h *handler) deleteIssuer(r *door.Request) error {
	s, err := h.Certificates.DeleteIssuer(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return h.issuerAnswer(r, s, err)
}

func (h *handler) listIssuers(r *door.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	found, err := h.Certificates.ListIssuers(r.HTTP.Context(), &r.Call, p)
	if err != nil {
		return err
	}
	type item struct {
		ID       string `json:"id"`
		Provider string `json:"provider"`
	}
	answer := struct {
		Value []item  `json:"value"`
		Next  *string `json:"nextLink"`
	}{Value: []item{}}
	for _, s := range found.Issuers {
		answer.Value = append(answer.Value, item{issuerID(r, s.Name), s.Provider})
	}
	if found.Next != "" {
		next := nextLink(r, "/certificates/issuers", p, found.Next)
		answer.Next = &next
	}
	return r.JSON(http.StatusOK, answer)
}

type contactsBody struct {
	ID       string        `json:"id,omitempty"`
	Contacts []contactBody `json:"contacts"`
}

type contactBody struct {
	Email string `json:"email"`
	Name  string `json:"name,omitempty"`
	Phone string `json:"phone,omitempty"`
}

func contactsAnswer(r *door.Request, list []cert.Contact, err error) error {
	if err != nil {
		return err
	}
	b := contactsBody{ID: r.Base + "/" + certificates + "/contacts", Contacts: []contactBody{}}
	for _, c := range list {
		b.Contacts = append(b.Contacts, contactBody(c))
	}
	return r.JSON(http.StatusOK, &b)
}

func (h *handler) getContacts(r *door.Request) error {
	list, err := h.Certificates.Contacts(r.HTTP.Context(), &r.Call)
	return contactsAnswer(r, list, err)
}

func (h *handler) setContacts(r *door.Request) error {
	var body contactsBody
	if err := r.Decode(&body); err != nil {
		return err
	}
	list := make([]cert.Contact, 0, len(body.Contacts))
	for _, c := range body.Contacts {
		list = append(list, cert.Contact(c))
	}
	err := h.Certificates.SetContacts(r.HTTP.Context(), &r.Call, list)
	return contactsAnswer(r, list, err)
}

func (h *handler) deleteContacts(r *door.Request) error {
	list, err := h.Certificates.DeleteContacts(r.HTTP.Context(), &r.Call)
	return contactsAnswer(r, list, err)
}
