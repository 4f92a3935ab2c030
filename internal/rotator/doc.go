// Package rotator is the port to targets: the systems whose credentials change.
//
// A Rotator speaks to one kind of target, such as PostgreSQL, and knows nothing else: what is changed when, which value comes next, what
// happens after a failure and when the old value dies are the business of the engine above it. The suite in rotatortest holds a test for
// each of these promises:
//
//   - Set, Revoke and Terminate are idempotent: done again, after any outcome, with the same arguments, they end in the same state. Revoking
//     what is gone already succeeds.
//   - An error says what is known. An *Error has a class; any other error, a lost connection above all, means Unknown, and the engine
//     probes before it does anything else. No verb claims that nothing happened unless the target said so.
//   - Probe logs in on a fresh connection at every endpoint and proves who it became there. Only an explicit refusal of the credential
//     is Rejected; a target that is down, locks out or is full is Unknown.
//   - No verb outlives its context, and what it started at the target does not either: the deadline is given to the target too, where it takes one.
//   - Two calls for one account never interleave at the target: where it has locks of its own, Set and Revoke hold one by the account.
//   - A value leaves as a verifier or a hash wherever the target takes one, and never in an error, a log of the target or an argument of a process.
//   - Names of accounts are quoted, whatever they contain. Grants, tags and attributes beside the credential stay as they are.
//   - Nothing is kept between calls: each opens its connections and closes them.
package rotator
