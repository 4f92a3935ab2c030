// Package client is the Go client of Keywright's native API.
//
// NewFromEnv takes everything from the environment, as a development server's dev.env gives it:
//
//	KEYWRIGHT_URL                                  where the server is
//	KEYWRIGHT_CA_FILE                              the PEM bundle that its certificate is checked by; the system's when unset
//	KEYWRIGHT_INSTANCE                             what tells this process apart from others of its principal
//	KEYWRIGHT_TOKEN                                a token to use as it is, or one of:
//	KEYWRIGHT_CLIENT_ID, KEYWRIGHT_CLIENT_SECRET   an application, or AZURE_CLIENT_ID and AZURE_CLIENT_SECRET
//	AZURE_FEDERATED_TOKEN_FILE                     an application's assertion of another issuer, as in Kubernetes
//	IDENTITY_ENDPOINT, IDENTITY_HEADER             the managed identity of this machine
//	KEYWRIGHT_LOGIN_URL, KEYWRIGHT_TENANT_ID       where tokens are had, or AZURE_AUTHORITY_HOST and AZURE_TENANT_ID
//
// Without any of the credentials it uses the sign-in that `keywright login` left for this server.
//
// A client is safe for concurrent use. Reads are tried again when the server asks for it or cannot be reached; a change
// is tried again only where it is certain that the server did not see it, or when it was refused for its rate. Errors of the
// server are of type *Error, whose Kind says what to do.
package client
