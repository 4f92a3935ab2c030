package api

// RevokeCertificate has a certificate taken back.
type RevokeCertificate struct {
	// Reason is one of RFC 5280, section 5.3.1, but certificateHold and removeFromCRL, such as keyCompromise or superseded; empty is unspecified.
	Reason string `json:"reason,omitempty"`
}
