// Package contract is how the engine asks something outside of it, a web service or a program, to change a credential: one order for each verb of
// rotator.Rotator, and one reply. It owns the messages and what a reply means; how they travel is the business of the rotators webhook and exec.
//
// A reply has one of five answers:
//
//	done         the state that the order names holds now
//	not_applied  nothing happened; the reason may say why: denied, misconfigured, busy
//	rejected     to probe: the target refuses the credential; to set: it does not take the value, and kept what it had
//	pending      it is under way: ask again with the same order
//	unknown      it may have happened or not
//
// Whatever is none of them, and no reply at all, is unknown too. After unknown the engine probes; a target that cannot be probed is then a matter
// for a person.
package contract
