// Package keywrighttest starts a real Keywright server within a test, in less than 100 ms, so that code which uses secrets
// is tested against what it will meet: the same doors, authorisation, encryption and audit log as in production, on a free port of
// loop-back, with files in the test's own directory.
//
//	func TestBilling(t *testing.T) {
//		s := keywrighttest.Start(t)
//		s.SetSecret("db-password", "correct horse")
//		billing := New(s.Client().Vault(s.VaultName()))
//		…
//	}
//
// The server has one vault, and the client is an application that administers it. What else dev.env of a development server
// holds is in Env: with it, and with CertPool or CAFile, any Azure SDK works as well.
//
// The RSA key that signs tokens is made in the background, so the first call of a client may take some hundred milliseconds
// longer than the start.
package keywrighttest
