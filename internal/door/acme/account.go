package acme

import (
	"context"
	"encoding/json"
	"net/http"
	"net/mail"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
)

// maxContacts bounds what an account says of its people.
const maxContacts = 10

// accountWire is an account as clients see it.
type accountWire struct {
	Status  string   `json:"status"`
	Contact []string `json:"contact,omitempty"`
}

func (s *exchange) accountReply(status int, a Account) *reply {
	return &reply{status: status, location: s.URL + pathAccount + a.ID, body: accountWire{a.Status, a.Contact}}
}

// newAccount finds the account of a key, or makes one (RFC 8555, section 7.3).
func (s *exchange) newAccount(r *door.Request, m *message) (*reply, error) {
	var in struct {
		Contact              []string        `json:"contact"`
		TermsOfServiceAgreed bool            `json:"termsOfServiceAgreed"`
		OnlyReturnExisting   bool            `json:"onlyReturnExisting"`
		Binding              json.RawMessage `json:"externalAccountBinding"`
	}
	if err := decode(m.payload, &in); err != nil {
		return nil, err
	}
	print, err := thumbprint(m.key)
	if err != nil {
		return nil, malformed("The key cannot be read.")
	}
	switch known, err := s.Store.AccountByKey(r.HTTP.Context(), print); {
	case err == nil && known.Status == statusValid:
		return s.accountReply(http.StatusOK, known), nil
	case err == nil:
		return nil, unauthorized("The account is " + known.Status + ".")
	case !fault.Is(err, fault.NotFound):
		return nil, err
	case in.OnlyReturnExisting:
		return nil, unknownAccount()
	}
	if s.TermsOfService != "" && !in.TermsOfServiceAgreed {
		return nil, problem(http.StatusForbidden, "userActionRequired", "Agree to the terms of service at "+s.TermsOfService+" (termsOfServiceAgreed).")
	}
	if err := checkContacts(in.Contact); err != nil {
		return nil, err
	}
	if err := s.rates.accounts.take(s.URL+" "+neighbourhood(r.Call.Address), "accounts are opened from this address", s.Clock.Now()); err != nil {
		return nil, err
	}
	a := Account{ID: randomID(), Thumbprint: print, Key: m.key, Contact: in.Contact, Status: statusValid, Created: s.Clock.Now().UTC()}
	if a.Binding, err = s.bind(r.HTTP.Context(), in.Binding, print); err != nil {
		return nil, err
	}
	if err := s.Store.CreateAccount(r.HTTP.Context(), a); fault.Is(err, fault.Conflict) {
		// The same client, twice at a time.
		if a, err = s.Store.AccountByKey(r.HTTP.Context(), print); err != nil {
			return nil, err
		}
		return s.accountReply(http.StatusOK, a), nil
	} else if err != nil {
		return nil, err
	}
	return s.accountReply(http.StatusCreated, a), nil
}

// bind proves an external account binding (section 7.3.4) and returns what the account remembers of it.
func (s *exchange) bind(ctx context.Context, raw json.RawMessage, print string) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		if s.Rules.RequiresBinding() {
			return "", problem(http.StatusForbidden, "externalAccountRequired", "Accounts are bound here: give the key id and MAC key that you were given (externalAccountBinding).")
		}
		return "", nil
	}
	jws, err := parseJWS(raw, []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512})
	if err != nil {
		return "", malformed("The binding is no JWS with HS256, HS384 or HS512.")
	}
	header := jws.Signatures[0].Protected
	if address, _ := header.ExtraHeaders["url"].(string); address != s.URL+pathNewAccount || header.KeyID == "" || header.Nonce != "" {
		return "", malformed("The binding names its key (kid) and the address of newAccount (url), and has no nonce.")
	}
	var payload []byte
	binding, err := s.Rules.Bind(ctx, header.KeyID, func(mac []byte) bool {
		var err error
		payload, err = jws.Verify(mac)
		return err == nil
	})
	if fault.Is(err, fault.Unauthenticated) {
		return "", unauthorized(fault.As(err).Message)
	}
	if err != nil {
		return "", err
	}
	var bound jose.JSONWebKey
	if err := bound.UnmarshalJSON(payload); err != nil {
		return "", malformed("The binding is not for a key.")
	}
	if other, err := thumbprint(&bound); err != nil || other != print {
		return "", malformed("The binding is for another key than the account's.")
	}
	return binding, nil
}

func checkContacts(contacts []string) error {
	if len(contacts) > maxContacts {
		return problem(http.StatusBadRequest, "invalidContact", "There are too many contacts.")
	}
	for _, c := range contacts {
		address, ok := strings.CutPrefix(c, "mailto:")
		if !ok {
			return problem(http.StatusBadRequest, "unsupportedContact", "Contacts are mailto: addresses.")
		}
		if parsed, err := mail.ParseAddress(address); err != nil || parsed.Address != address {
			return problem(http.StatusBadRequest, "invalidContact", "A contact is no mail address.")
		}
	}
	return nil
}

// account shows, changes or closes an account (sections 7.3.2 and 7.3.6).
func (s *exchange) account(r *door.Request, m *message) (*reply, error) {
	if r.Params.Get("id") != m.account.ID {
		return nil, notFound()
	}
	if m.asGet() {
		return s.accountReply(http.StatusOK, m.account), nil
	}
	var in struct {
		Contact *[]string `json:"contact"`
		Status  string    `json:"status"`
	}
	if err := decode(m.payload, &in); err != nil {
		return nil, err
	}
	if in.Status != "" && in.Status != statusDeactivated && in.Status != statusValid {
		return nil, malformed("An account can be deactivated, and nothing else.")
	}
	if in.Contact != nil {
		if err := checkContacts(*in.Contact); err != nil {
			return nil, err
		}
	}
	a, err := s.Store.UpdateAccount(r.HTTP.Context(), m.account.ID, func(a *Account) error {
		if in.Contact != nil {
			a.Contact = *in.Contact
		}
		if in.Status == statusDeactivated {
			a.Status = statusDeactivated
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.accountReply(http.StatusOK, a), nil
}

// keyChange gives an account another key, which proves in an inner JWS that it agrees (section 7.3.5).
func (s *exchange) keyChange(r *door.Request, m *message) (*reply, error) {
	inner, err := parseJWS(m.payload, signatures)
	if err != nil {
		return nil, err
	}
	header := inner.Signatures[0].Protected
	address, _ := header.ExtraHeaders["url"].(string)
	if header.JSONWebKey == nil || header.KeyID != "" || address != s.URL+pathKeyChange {
		return nil, malformed("The inner JWS brings the new key (jwk) and has the same url as the outer one.")
	}
	key := header.JSONWebKey
	if err := checkKey(key); err != nil {
		return nil, err
	}
	payload, err := inner.Verify(key)
	if err != nil {
		return nil, unauthorized("The inner signature is not that of the new key.")
	}
	var in struct {
		Account string          `json:"account"`
		OldKey  jose.JSONWebKey `json:"oldKey"`
	}
	if err := decode(payload, &in); err != nil {
		return nil, err
	}
	old, err := thumbprint(&in.OldKey)
	if err != nil || old != m.account.Thumbprint || in.Account != s.URL+pathAccount+m.account.ID {
		return nil, malformed("The inner JWS names this account and its present key.")
	}
	print, err := thumbprint(key)
	if err != nil {
		return nil, malformed("The new key cannot be read.")
	}
	a, err := s.Store.UpdateAccount(r.HTTP.Context(), m.account.ID, func(a *Account) error {
		if a.Thumbprint != old {
			return malformed("The account has another key by now.")
		}
		a.Key, a.Thumbprint = key, print
		return nil
	})
	if fault.Is(err, fault.Conflict) {
		other, err := s.Store.AccountByKey(r.HTTP.Context(), print)
		if err != nil {
			return nil, err
		}
		// Section 7.3.5: a client that has lost its account finds it in this way.
		p := problem(http.StatusConflict, "malformed", "Another account has this key.")
		return &reply{status: p.Status, location: s.URL + pathAccount + other.ID, body: p}, nil
	}
	if err != nil {
		return nil, err
	}
	return s.accountReply(http.StatusOK, a), nil
}
