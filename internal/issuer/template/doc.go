// Package template turns a request into the certificate that an issuer of our own will sign: names, usages, key ids, serial number and validity. It signs nothing,
// does no I/O and asks no clock; the rules come from the caller.
//
// Alternative names are taken over as they stand in the request, after each has been read and found to be of a kind that the rules allow: re-encoding would lose the
// principal names of Active Directory, which Go's parser does not know.
package template
