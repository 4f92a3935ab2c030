// Package cert is the service for certificates: make them by a policy, import them, renew them on time, and keep what stands behind them in step.
//
// A certificate is three objects with one name: itself, its key and its secret, which has the certificate with the private key in a file as its value. Their
// versions have the same ids and change in one transaction, or not at all; the services of keys and of secrets serve the other two to whoever may
// have them, and refuse to change them.
//
// # Operations
//
// A version is made by an operation. It is stored before anybody is asked: the key, the request for a certificate, and which issuer is to answer it.
// So it goes on after a crash with the same key and the same request, whoever goes on with it.
//
//	Create ──▶ inProgress ──▶ completed   the issuer gave a chain: the three versions become current together
//	              ├─────────▶ failed      it will not; nothing has changed, and a person may still Merge
//	              └─Cancel──▶ cancelled
//
// Until then the versions of the certificate and of the key stand under the label pending, which hides them. An issuer that answers at once does so within
// the request that creates; the others are asked by Due, which also renews what its policy says, and belongs to a background job.
//
// # State
//
// The policy and the operation of a certificate are one document beside its object, with the instant at which there is something to do next.
// Issuers and contacts are objects of hidden kinds in the vault.
package cert
