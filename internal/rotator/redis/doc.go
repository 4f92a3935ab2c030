// Package redis changes passwords of Redis users: those of its access control lists, from Redis 6 on.
//
// Lists do not replicate. Each node, replica and sentinel is an endpoint of its own, and a change goes to all of them. It is one command for
// each, ACL SETUSER name resetpass #hash …, which states all passwords that the user has from then on: it may be repeated, it takes the
// hash and never the value, and no login comes in between.
//
// What an acknowledged ACL SETUSER changed is gone after a restart unless it is saved: by ACL SAVE where the server has a file for its
// users, by SENTINEL FLUSHCONFIG at a sentinel, else by CONFIG REWRITE. A change that cannot be saved is taken back. And since this program
// may die between the change and its saving, a probe saves before it calls a login accepted. A server that keeps its users nowhere is
// refused, unless its configuration says ephemeral.
//
// A connection whose AUTH failed goes on as the default user, and its PING is answered: so a probe reads the reply to AUTH, and asks
// ACL WHOAMI. A user with nopass takes any password: it is refused.
//
// Redis has no locks for administrators. Each change gives its connection a name made of the account (CLIENT SETNAME), looks whether
// another connection has it (CLIENT LIST), and steps back if so; Redis runs one command at a time, so of two, at most one goes on. Redis has
// no deadlines for a command either: one that the network delivers late takes effect late. That promise of the port is not kept.
//
// Redis has no lasting name of its own: run_id changes with each start, the replication id with each failover, addresses with the way.
// So the configuration names the deployment (system), and the same name in two policies says that their accounts are the same.
package redis
