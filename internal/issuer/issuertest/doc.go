// Package issuertest is the conformance suite of issuer.Issuer: every promise of the port has a case here, and the test of an issuer calls Run with a Subject. The
// suite never believes an issuer: it verifies each chain by itself, against roots that the Subject knows from elsewhere.
package issuertest
