// Package ldap rotates passwords that are kept in a directory: OpenLDAP (shape openldap) and Active Directory (shape ad).
//
// OpenLDAP's userPassword has several values, and a bind succeeds with any of them, so an account can have two passwords for a time: Dual is
// adding a value and later deleting exactly that one, found by hashing the old password with the salt of each stored value. Values
// are hashed here, since a directory stores a value that a client adds as it came: {SSHA} unless the policy asks for {ARGON2}. {SSHA}
// is the only salted scheme that every OpenLDAP understands without a module, and for 32 random characters a slow hash adds nothing. The
// Password Modify operation (RFC 3062) is never used: it replaces all values.
//
// Every modification changes one value, carries the entry's change sequence number in an assertion control (RFC 4528), and so has no effect once
// anything else has changed the entry: of two changes at once one reads again.
//
// Active Directory takes unicodePwd, the quoted password in UTF-16LE, over TLS only: an administrator replaces it, an account itself deletes the old
// value and adds the new one (MS-ADTS 3.1.1.3.1.5). There is one value. For NTLM the old one may work for an hour more, and
// another domain controller may lag, so an accepted old password proves nothing there.
//
// A bind with a name and no password is an anonymous one that succeeds (RFC 4513 section 5.1.2): there is no call here that could send it.
package ldap
