package acme

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
)

// finalize takes the certificate request and has the certificate signed (section 7.4). Whatever fails leaves the order ready for another try.
func (s *exchange) finalize(r *door.Request, m *message) (*reply, error) {
	o, err := s.ownOrder(r, m)
	if err != nil {
		return nil, err
	}
	switch o.Status {
	case statusValid:
		return s.orderReply(http.StatusOK, o), nil // the answer to the first try was lost
	case statusReady:
	default:
		return nil, problem(http.StatusForbidden, "orderNotReady", "The order is "+o.Status+": prove every name first.")
	}
	var in struct {
		CSR string `json:"csr"`
	}
	if err := decode(m.payload, &in); err != nil {
		return nil, err
	}
	csr, err := readCSR(in.CSR, o.Identifiers)
	if err != nil {
		return nil, err
	}
	if samePublic(csr.PublicKey, m.account.Key.Key) {
		return nil, badCSR("The certificate's key is the account's: make another one.")
	}
	// The rules may have changed since the order was made.
	permission, err := s.Rules.Allow(r.HTTP.Context(), m.account, o.Identifiers, o.Profile)
	if err == nil && !permission.Trusted {
		err = s.proved(r, o)
	}
	if err != nil {
		return nil, err
	}
	signing := Signing{OrderID: o.ID, Account: m.account, Profile: permission.Profile, CSR: csr, NotAfter: o.NotAfter}
	if latest := s.Clock.Now().Add(permission.Life); permission.Life > 0 && (signing.NotAfter.IsZero() || signing.NotAfter.After(latest)) {
		signing.NotAfter = latest
	}
	chain, err := s.Authority.Issue(r.HTTP.Context(), signing)
	if fault.Is(err, fault.Invalid) {
		return nil, badCSR(fault.As(err).Message)
	}
	if err != nil {
		return nil, err
	}
	o, err = s.Store.UpdateOrder(r.HTTP.Context(), o.ID, func(o *Order) error {
		if o.Status == statusValid {
			return nil
		}
		o.Status, o.Serial, o.Chain = statusValid, chain[0].SerialNumber.Text(16), nil
		for _, c := range chain {
			o.Chain = append(o.Chain, c.Raw)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.orderReply(http.StatusOK, o), nil
}

// proved refuses an order whose names the rules believed when it was made, and do not believe any more.
func (s *exchange) proved(r *door.Request, o Order) error {
	for _, id := range o.Authorizations {
		a, err := s.Store.Authorization(r.HTTP.Context(), id)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(a.Challenges, func(c Challenge) bool { return c.Status == statusValid }) {
			return problem(http.StatusForbidden, "orderNotReady", "The access rule believed this account when the order was made, and does not any more: make another order.")
		}
	}
	return nil
}

// readCSR reads a certificate request that names exactly what was ordered.
func readCSR(text string, ordered []Identifier) (*x509.CertificateRequest, error) {
	der, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, badCSR("The certificate request is not in base64url.")
	}
	csr, err := certfile.ReadRequest(der)
	if err != nil {
		return nil, badCSR(fault.As(err).Message)
	}
	if len(csr.EmailAddresses)+len(csr.URIs) > 0 {
		return nil, badCSR("The certificate request has mail addresses or URIs, which were not ordered.")
	}
	var names []Identifier
	for _, name := range csr.DNSNames {
		names = append(names, Identifier{Type: typeDNS, Value: strings.ToLower(name)})
	}
	for _, ip := range csr.IPAddresses {
		names = append(names, Identifier{Type: typeIP, Value: ip.String()})
	}
	// The common name repeats one of the names, if it is there; alone it counts as one (section 7.4).
	if cn := strings.ToLower(csr.Subject.CommonName); cn != "" {
		if len(names) == 0 {
			return nil, badCSR("The certificate request has a common name alone: put the names into the alternative names, too.")
		}
		if !slices.ContainsFunc(names, func(i Identifier) bool { return i.Value == cn }) {
			return nil, badCSR("The common name of the certificate request was not ordered.")
		}
	}
	for _, i := range names {
		if !slices.Contains(ordered, i) {
			return nil, badCSR("The certificate request names " + fault.Clip(i.Value) + ", which was not ordered.")
		}
	}
	for _, i := range ordered {
		if !slices.Contains(names, i) {
			return nil, badCSR("The certificate request does not name " + i.Value + ", which was ordered.")
		}
	}
	return csr, nil
}

func badCSR(detail string) *Problem { return problem(http.StatusBadRequest, "badCSR", detail) }
