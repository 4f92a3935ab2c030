package acme

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"time"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
)

// certificate delivers a chain (section 7.4.2).
func (s *exchange) certificate(r *door.Request, m *message) (*reply, error) {
	o, err := s.ownOrder(r, m)
	if err != nil {
		return nil, err
	}
	if o.Status != statusValid || !m.asGet() {
		return nil, notFound()
	}
	if err := s.Store.Delivered(r.HTTP.Context(), &o); err != nil {
		return nil, err
	}
	var chain []byte
	for _, der := range o.Chain {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return &reply{status: http.StatusOK, media: "application/pem-certificate-chain", raw: chain}, nil
}

// revoke takes a certificate back, for the account that ordered it or for whoever has its key (section 7.6).
func (s *exchange) revoke(r *door.Request, m *message) (*reply, error) {
	var in struct {
		Certificate string `json:"certificate"`
		Reason      int    `json:"reason"`
	}
	if err := decode(m.payload, &in); err != nil {
		return nil, err
	}
	reason := issuer.Reason(in.Reason)
	if !reason.Known() {
		return nil, problem(http.StatusBadRequest, "badRevocationReason", "The reason is none that is accepted: 0 to 5, 9 or 10.")
	}
	der, err := base64.RawURLEncoding.DecodeString(in.Certificate)
	if err != nil {
		return nil, malformed("The certificate is not in base64url.")
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, malformed("The certificate cannot be read.")
	}
	o, err := s.Store.OrderBySerial(r.HTTP.Context(), c.SerialNumber.Text(16))
	if fault.Is(err, fault.NotFound) || err == nil && string(o.Chain[0]) != string(der) {
		return nil, problem(http.StatusNotFound, "malformed", "The certificate was not issued here.")
	}
	if err != nil {
		return nil, err
	}
	owns := m.account.ID != "" && m.account.ID == o.AccountID
	holds := m.account.ID == "" && samePublic(c.PublicKey, m.key.Key)
	if !owns && !holds {
		return nil, unauthorized("The certificate belongs to another account, and the request is not signed with its key.")
	}
	if err := s.Authority.Revoke(r.HTTP.Context(), c, reason); fault.Is(err, fault.Conflict) {
		return nil, problem(http.StatusBadRequest, "alreadyRevoked", "The certificate is revoked already.")
	} else if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusOK}, nil
}

// renewal says when to renew a certificate (RFC 9773). Anybody may ask: serial numbers cannot be guessed.
func (s *exchange) renewal(r *door.Request) (*reply, error) {
	authority, serial, err := parseCertificateID(r.Params.Get("id"))
	if err != nil {
		return nil, err
	}
	window, err := s.Authority.RenewalWindow(r.HTTP.Context(), authority, serial)
	if err != nil {
		return nil, err
	}
	r.RetryAfter(max(window.AskAgain.Sub(s.Clock.Now()), time.Minute))
	body := map[string]any{"suggestedWindow": map[string]time.Time{"start": window.Start.UTC(), "end": window.End.UTC()}}
	if window.Explanation != "" {
		body["explanationURL"] = window.Explanation
	}
	return &reply{status: http.StatusOK, body: body}, nil
}
