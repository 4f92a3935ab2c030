// Package client is the Go client of Keywright's native API.
//
// NewFromEnv takes everything from the environment, as a development server's dev.env gives it:
//
//	KEYWRIGHT_URL                                  where the server is
//	KEYWRIGHT_CA_FILE                              the PEM bundle that its certificate is checked by; the system's when unset
//	KEYWRIGHT_INSTANCE                             what tells this process apart from others of its principal
//	KEYWRIGHT_REGION                               where this process runs, for rollouts that go region by region
//	KEYWRIGHT_TOKEN                                a token to use as it is, or one of:
//	KEYWRIGHT_CLIENT_ID, KEYWRIGHT_CLIENT_SECRET   an application, or AZURE_CLIENT_ID and AZURE_CLIENT_SECRET
//	AZURE_FEDERATED_TOKEN_FILE                     an application's assertion of another issuer, as in Kubernetes
//	IDENTITY_ENDPOINT, IDENTITY_HEADER             the managed identity of this machine
//	KEYWRIGHT_LOGIN_URL, KEYWRIGHT_TENANT_ID       where tokens are had, or AZURE_AUTHORITY_HOST and AZURE_TENANT_ID
//
// Without any of the credentials it uses the sign-in that `keywright login` left for this server.
//
// A program that runs for long keeps a Value: it holds the current version of a secret, hears of the next one from a stream and by polling, signs in
// with it, and acknowledges to the server that it did, which is what lets the old one go. The packages sqlpool, pgxpool, redispool and amqp below this one
// do that for connections of databases and brokers.
//
// A client is safe for concurrent use. Reads are tried again when the server asks for it or cannot be reached; a change
// is tried again only where it is certain that the server did not see it, or when it was refused for its rate. Errors of the
// server are of type *Error, whose Kind says what to do.
package client
