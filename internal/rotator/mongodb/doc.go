// Package mongodb changes the passwords of users of MongoDB.
//
// A change is updateUser with the password and a majority write concern, and nothing else: a list of roles in that command would replace the user's. The
// password travels inside TLS, which is always on; MongoDB takes hashes only for SCRAM-SHA-1. Its log leaves passwords out.
//
// A user has one password, so the strategies are single and alternating. Connections survive a change, and no command ends those of a user.
package mongodb
