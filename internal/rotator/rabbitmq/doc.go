// Package rabbitmq rotates the passwords of RabbitMQ's internal users.
//
// Changes go to the management API (https://www.rabbitmq.com/docs/http-api-reference): PUT /api/users/NAME replaces a user, so the
// rotator reads it first and sends its tags back as they were, and it sends a salted SHA-256 hash in place of the password
// (https://www.rabbitmq.com/docs/passwords). What a value opens is found out by an AMQP 0-9-1 login at every endpoint, because the API
// itself answers 401 to a user without a management tag, whatever the password.
//
// A user has one password: either Single, or Alternating with a pair that has equal tags, permissions and limits on every virtual host. Sessions
// survive a change of password. The cluster's database is one, so one change reaches all nodes.
//
// The broker has no locks and takes no deadline. A PUT is atomic, and of two the later one wins as a whole; one that is stuck in the network may
// arrive late. The engine's account lease and the probe after doubt are what guards against that.
package rabbitmq
