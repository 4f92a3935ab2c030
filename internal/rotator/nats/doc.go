// Package nats rotates the passwords of users in a NATS server's configuration.
//
// Such a server has no protocol to change a user: its users stand in its configuration, which it reads again at a SIGHUP
// (https://docs.nats.io/running-a-nats-service/configuration). The rotator therefore runs where the server runs, owns a file that the
// configuration includes, {"users": [...]}, and for each change
//
//   - takes the lock of that file, since all users share it,
//   - writes a copy in which one user has another bcrypt hash, and nothing else differs, flushes it to disk and renames it over the file: no
//     reader ever sees half of it,
//   - lets the server's own program check the configuration, where the policy names it, and puts the old file back when it is refused,
//   - sends SIGHUP to the process of the PID file, once it is sure that this is a NATS server, and
//   - waits until the monitoring endpoint shows a newer time of loading: a server that refuses its configuration goes on with the old one, and
//   - logs in with the new value, because a reload of somebody else that ended meanwhile may have read the file before.
//
// A reload refuses, as if its password were wrong, every client that is connected and has not authenticated yet. A refused login therefore proves something
// only when the server did not reload around it.
//
// A reload disconnects the clients of a user whose password changed, at once, and nobody else. Hence there is no Single: only the idle user
// of a pair may change.
package nats
