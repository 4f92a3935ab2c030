// Package principal is the model of who may ask: users, service principals, managed identities and groups, the
// credentials by which they prove themselves, and the roles that are granted to them. It does no I/O and knows no
// protocol.
//
// A credential is never kept in clear: a secret as a digest, a certificate as its public half, a federation as the
// issuer and subject that are believed.
package principal
