// Package rotatortest is the conformance suite of rotator.Rotator: every promise of the port has a case here, and the test of a rotator
// calls Run with a Subject, which is the rotator and a real system to be hurt.
//
// The suite never believes a rotator. What a target accepts it learns from logins that the Subject makes by itself, straight to the system;
// the rotator is sent through proxies (Proxy) that lose the reply to a request that went through, cut before one, hold it past the deadline,
// or are down. A loss is tried at every request of a verb, one after the other, until the verb gets through unhurt: so no suite has
// to know which request of which protocol decides.
//
// What a system cannot keep is declared in Subject.Exceptions with its reason, and belongs into the rotator's page too.
package rotatortest
