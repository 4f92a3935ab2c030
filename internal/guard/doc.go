// Package guard is the one way from a caller to a read or a change.
//
// Services do not authorise, audit or open transactions by themselves. They say what they need and hand over the work;
// the guard authorises, runs it, writes the audit record (in the same transaction for a change, in the node's log
// before the answer for a read or a refusal) and resolves an ambiguous commit. So no endpoint can forget one of them.
//
// It keeps a View of each vault in use: the vault with everything that decides about access to it, compiled once per
// change. Views follow the store's commits at once: a grant that was withdrawn is not honoured by any request that
// begins after the withdrawal was acknowledged.
package guard
