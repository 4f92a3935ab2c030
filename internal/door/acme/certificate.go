package acme

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
)

// certificate delivers a chain (section 7.4.2).
func (s *Server) certificate(w http.ResponseWriter, r *http.Request) {
	s.common(w)
	m, err := s.read(r, byAccount)
	var o Order
	if err == nil {
		o, err = s.ownOrder(r, m)
	}
	if err == nil && (o.Status != statusValid || !m.asGet()) {
		err = notFound()
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	for _, der := range o.Chain {
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // the client has gone away
	}
}

// revoke takes a certificate back, for the account that ordered it or for whoever has its key (section 7.6).
func (s *Server) revoke(r *http.Request, m *message) (*reply, error) {
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
	o, err := s.config.Store.OrderBySerial(r.Context(), c.SerialNumber.Text(16))
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
	if err := s.config.Authority.Revoke(r.Context(), c, reason); fault.Is(err, fault.Conflict) {
		return nil, problem(http.StatusBadRequest, "alreadyRevoked", "The certificate is revoked already.")
	} else if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusOK}, nil
}

// renewal says when to renew a certificate (RFC 9773). Anybody may ask: serial numbers cannot be guessed.
func (s *Server) renewal(w http.ResponseWriter, r *http.Request) {
	authority, serial, err := parseCertificateID(r.PathValue("id"))
	var window issuer.Window
	if err == nil {
		window, err = s.config.Authority.RenewalWindow(r.Context(), authority, serial)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	wait := max(window.AskAgain.Sub(s.config.Clock.Now()), time.Minute)
	w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
	body := map[string]any{"suggestedWindow": map[string]time.Time{"start": window.Start.UTC(), "end": window.End.UTC()}}
	if window.Explanation != "" {
		body["explanationURL"] = window.Explanation
	}
	s.send(w, &reply{status: http.StatusOK, body: body})
}
