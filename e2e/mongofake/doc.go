// Package mongofake is a protocol fake. It is not MongoDB, and nothing that passes against it is thereby proved to pass against MongoDB.
//
// It speaks enough of the wire protocol (OP_MSG, and OP_QUERY for a driver's first hello) that the Go driver connects to it unchanged, always inside TLS. What it is strict
// about is what a change of credentials touches: SCRAM-SHA-256 logins, updateUser for a user whose administrator may change passwords, which leaves roles and open
// connections alone, usersInfo, connectionStatus, and $currentOp with the users of each connection. Any other command is refused with error 59.
//
// Source: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/ and the pages of the commands.
package mongofake
