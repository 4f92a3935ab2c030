// Package rotationtest is the crash matrix of rotations: a process dies before and after every journal entry and every call, and another one, with an
// identity of its own, continues.
//
// The points are those of the state machine itself (rotation.Points), so a new state is in the matrix as soon as it exists. A Subject is a rotator
// with one strategy and a target, real or not. Each scenario tells a story that leads through some of the states: the plain one, a reply that gets lost, an abort,
// a rollout. They are told once without a crash, which shows what each comes by; a point that none comes by fails the test. Then the process dies at each.
//
// However it went, at the end there is exactly one current version and it logs in, by a login that is not the rotator's; every value that a target was ever
// told is stored; nothing else than the current one logs in; one attempt set one value, unless the target refused the first; no two calls changed one account at once.
package rotationtest
