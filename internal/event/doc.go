// Package event brings the events of vaults to those who subscribed to them.
//
// Whoever changes something emits its events in the same transaction, into the store's journal. The Dispatcher follows the
// journal by a cursor: one transaction moves the cursor and makes a durable delivery for every subscription that an event
// matches, so that no event is missed and none is spread twice. From there each subscription has a worker of its own; an
// endpoint that is slow or dead delays nobody else's events.
//
// Deliveries are webhooks as Azure Event Grid sends them, in its own schema (one event in an array) or as CloudEvents 1.0 in
// structured mode, with Event Grid's handshakes, its documented schedule of retries, and its form of dead letters, which are
// kept here and can be replayed. An event is delivered at least once. Other than from Event Grid, the events of one subject reach a
// subscriber in their order: a later one waits until the one before was taken or is dead.
//
// Values never travel in events. What authenticates a delivery to its endpoint, the URL's query and additional headers, is sealed
// in the store and is in no log, error or listing. Endpoints are reached over TLS only, loop-back apart, and never at addresses
// of link-local networks and of the metadata services of clouds, whatever name leads there.
//
// The package knows nothing of who may subscribe; a service above it does.
//
// Sources: "Azure Event Grid event schema", "Webhook event delivery" (endpoint validation), "Event Grid message delivery and
// retry", "Azure Key Vault as Event Grid source"; CloudEvents 1.0.2 and "HTTP 1.1 Web Hooks for Event Delivery" 1.0.
package event
