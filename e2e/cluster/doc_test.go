// Package cluster_test hurts a whole installation for a while, one fault at a time, while everything is in use.
//
// Three nodes, each a production server with a configuration and a directory of its own, work on one PostgreSQL database with a synchronous standby. Everything
// has a network namespace of its own, on three networks: clients and nodes, nodes and databases, nodes and targets. Two real targets, a PostgreSQL and a RabbitMQ, have accounts that
// rotate under applications that log in all the time; certificates are made anew, secrets written and read, grants given and withdrawn.
//
// The faults: a node is killed and started again, or stopped for longer than its leases; the cable between a node and the databases, or the clients, is out for a while; the
// primary database is killed, or ended in order, and started again; or it is cut off, its standby takes over, and another standby is made in its place. Each is healed, and
// everything has to work again, before the next.
//
// What is checked, at all times:
//
//   - What was acknowledged is there at the end, in the version that it was.
//   - Writes of each secret are linearizable, reads go back at no node and are at most a second behind (package history).
//   - No target rejects what an application has, and the target accepts no value that the vault does not know.
//   - What was withdrawn (a grant, a version, a secret) is not served later than a second after that was acknowledged, or longer in vaults that say so, by as much as they say.
//   - A node that is cut off serves nothing, but for those vaults.
//   - Reads in a vault that may be ten minutes stale succeed, for a client that tries once more at another node, but for one in ten thousand.
//   - The audit logs of all nodes verify.
//
// A round of the faults runs by default. KEYWRIGHT_CLUSTER_TIME makes it go on, for 30m say, with longer faults.
package cluster_test
