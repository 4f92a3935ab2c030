// Package rotation_test proves rotations against real systems: PostgreSQL, MariaDB, Redis, RabbitMQ, OpenLDAP and NATS.
//
//   - TestCrashes: a process dies before and after every journal entry and every call, and another one continues.
//   - TestKill: the whole server is killed with SIGKILL in the midst of a rotation, for every rotator and strategy, and started again.
//   - TestLoad: rotations under an application that logs in and works all the time, and a server that is killed in every third of them.
//   - TestEvidence: ten applications that use Azure's SDKs and acknowledge nothing, and deadlines that come while some of them stay with the old version.
//   - TestHerd: ten thousand rotations are due at once.
//   - TestRaces: workers race for the same runs.
//   - TestAuthorityChange, TestAuthorityChangeWaits: a root changes under clients and servers with mutual TLS.
//
// Each runs a sample by default; the environment asks for the full counts, and scripts/soak sets it.
package rotation_test
