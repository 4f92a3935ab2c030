package internalca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
)

// Revoke takes a certificate of this authority back. The lists and answers that were given before count until their end.
func (ca *CA) Revoke(ctx context.Context, leaf *x509.Certificate, reason issuer.Reason) error {
	if !reason.Known() {
		return fault.New(fault.Invalid, "certificates are not revoked for the reason %d: use one of RFC 5280's but certificateHold and removeFromCRL", reason)
	}
	record, err := ca.config.Records.BySerial(ctx, SerialText(leaf.SerialNumber))
	if err == nil && !bytes.Equal(record.DER, leaf.Raw) {
		err = fault.New(fault.NotFound, "no such certificate")
	}
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "the authority %q has not issued the certificate with the serial number %x: ask the one that did",
			ca.config.Certificate.Subject, leaf.SerialNumber)
	}
	if err != nil {
		return fmt.Errorf("looking for the certificate %x: %w", leaf.SerialNumber, err)
	}
	return ca.config.Records.Revoke(ctx, record.Serial, Revocation{At: ca.config.Clock.Now().UTC().Truncate(time.Second), Reason: reason})
}

// CRL signs a list of what is revoked, in DER, and says until when it counts. Fetch it again well before: half of its life is usual.
//
// An expired certificate stays on the list for one more life of a list, so that it stands on at least one that was made after its end (RFC 5280, section 3.3).
func (ca *CA) CRL(ctx context.Context) (der []byte, nextUpdate time.Time, err error) {
	now := ca.config.Clock.Now().UTC().Truncate(time.Second)
	number, err := ca.config.Records.NextCRLNumber(ctx)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("numbering a revocation list of %q: %w", ca.config.Certificate.Subject, err)
	}
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: now, NextUpdate: now.Add(ca.config.CRLLifetime)}
	for record, err := range ca.config.Records.Revoked(ctx, now.Add(-ca.config.CRLLifetime)) {
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("reading what %q has revoked: %w", ca.config.Certificate.Subject, err)
		}
		serial, ok := new(big.Int).SetString(record.Serial, 16)
		if !ok {
			return nil, time.Time{}, fmt.Errorf("the record of a certificate of %q has the serial number %q", ca.config.Certificate.Subject, record.Serial)
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: record.Revoked.At, ReasonCode: int(record.Revoked.Reason)})
	}
	der, err = x509.CreateRevocationList(rand.Reader, list, ca.config.Certificate, ca.config.Key)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("signing a revocation list of %q: %w", ca.config.Certificate.Subject, err)
	}
	return der, list.NextUpdate, nil
}

// OCSP answers a request of RFC 6960, in DER. What cannot be answered gets an error response of the protocol, and no error: only a failure of our own is one,
// together with the response "try later" or "internal error" that is to be sent for it.
func (ca *CA) OCSP(ctx context.Context, request []byte) (response []byte, nextUpdate time.Time, err error) {
	q, err := ocsp.ParseRequest(request)
	if err != nil {
		return ocsp.MalformedRequestErrorResponse, time.Time{}, nil
	}
	if !ca.asked(q) {
		return ocsp.UnauthorizedErrorResponse, time.Time{}, nil
	}
	now := ca.config.Clock.Now().UTC().Truncate(time.Second)
	answer := ocsp.Response{SerialNumber: q.SerialNumber, Status: ocsp.Good, ThisUpdate: now, NextUpdate: now.Add(ca.config.OCSPLifetime), IssuerHash: q.HashAlgorithm}
	switch record, err := ca.config.Records.BySerial(ctx, SerialText(q.SerialNumber)); {
	case fault.Is(err, fault.NotFound):
		answer.Status = ocsp.Unknown
	case err != nil:
		return ocsp.TryLaterErrorResponse, time.Time{}, fmt.Errorf("looking for the certificate %x: %w", q.SerialNumber, err)
	case record.Revoked != nil:
		answer.Status, answer.RevokedAt, answer.RevocationReason = ocsp.Revoked, record.Revoked.At, int(record.Revoked.Reason)
	}
	der, err := ocsp.CreateResponse(ca.config.Certificate, ca.config.Certificate, answer, ca.config.Key)
	if err != nil {
		return ocsp.InternalErrorErrorResponse, time.Time{}, fmt.Errorf("signing an OCSP response of %q: %w", ca.config.Certificate.Subject, err)
	}
	return der, answer.NextUpdate, nil
}

// asked reports whether a request names this authority, by the digests of its name and its key.
func (ca *CA) asked(q *ocsp.Request) bool {
	if q.HashAlgorithm != crypto.SHA1 && q.HashAlgorithm != crypto.SHA256 && q.HashAlgorithm != crypto.SHA384 && q.HashAlgorithm != crypto.SHA512 {
		return false
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}
	if _, err := asn1.Unmarshal(ca.config.Certificate.RawSubjectPublicKeyInfo, &info); err != nil {
		return false
	}
	digest := func(b []byte) []byte {
		h := q.HashAlgorithm.New()
		h.Write(b)
		return h.Sum(nil)
	}
	return bytes.Equal(q.IssuerNameHash, digest(ca.config.Certificate.RawSubject)) && bytes.Equal(q.IssuerKeyHash, digest(info.PublicKey.RightAlign()))
}

// RenewalWindow says to renew after two thirds of the certificate's life, within the next sixth of it; at once when it has been revoked.
func (ca *CA) RenewalWindow(ctx context.Context, leaf *x509.Certificate) (issuer.Window, error) {
	now := ca.config.Clock.Now().UTC().Truncate(time.Second)
	record, err := ca.config.Records.BySerial(ctx, SerialText(leaf.SerialNumber))
	if err != nil {
		return issuer.Window{}, fmt.Errorf("looking for the certificate %x: %w", leaf.SerialNumber, err)
	}
	return Window(leaf, record.Revoked, now), nil
}

// Window is the window for a certificate, which may have been revoked, as it is told at now.
func Window(leaf *x509.Certificate, revoked *Revocation, now time.Time) issuer.Window {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	w := issuer.Window{Start: leaf.NotBefore.Add(life * 2 / 3), End: leaf.NotBefore.Add(life * 5 / 6), AskAgain: now.Add(6 * time.Hour)}
	if revoked != nil {
		w.Start, w.End = revoked.At.Add(-time.Hour), revoked.At
	}
	return w
}
