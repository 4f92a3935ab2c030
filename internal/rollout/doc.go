// Package rollout says who gets a new version while it spreads, and when it spreads on.
//
// A rollout is a candidate, the base that everyone has had, and rings of consumers. Rings are opened one after the other;
// the gate of a ring must hold before the next is opened, and that of the last one before the candidate is everyone's.
//
//	waiting --> open (ring 0) --> open (ring 1) --> ... --> finished
//	               |                  |
//	               +------------------+------> returned
//
// The package is pure. Resolve is on the way of every read: it allocates nothing, and answers from the rollout and the
// consumer alone. A consumer gets the candidate when one of its rings is open; rings are never closed again but all at once,
// by a return, so who got the candidate keeps it for as long as it is who it is. A consumer that no ring names gets the candidate
// when the rollout has finished.
//
// Next decides from observations, which somebody else made. What was not observed does not count as good: a gate without
// its evidence holds.
package rollout
