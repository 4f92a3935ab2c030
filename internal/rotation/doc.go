// Package rotation changes credentials at their targets while everything that uses them keeps running.
//
// It has a pure half and a half that acts. The pure half is a policy (Policy), a planner (MakePlan), a durable document of one run (Run) and
// the function Next, which takes a run, what was just observed and the present instant, and returns the run as it stands then with the
// effects that follow. The worker writes the run to its journal, lets the effects happen, and asks Next again with what came of them.
//
// Two kinds of runs follow each other. A rotation makes a new credential live and current:
//
//	queued -> preflight -> [approval] -> generating -> generated -> setting -> testing -> [rollout] -> done
//	                           \-> listing -> creating -> testing      the target makes the value
//	                           \-> asked -> testing                    a person, or a registered function, changes the target
//
// A revocation ends what it replaced, whenever that is safe. It is a run of its own, so that its failure neither undoes the rotation nor
// forgets what is to be removed:
//
//	awaiting -> [held | approval | disabled] -> verifying -> revoking -> [terminating] -> confirming -> done
//
// Beside them are leases (Loan): accounts that are made for who asks, and removed.
//
// What holds throughout:
//
//   - The journal is written before each effect. A state that has a call names exactly that one, and is entered only to make it; a run that is
//     picked up in a state whose call may or may not have happened asks the target, in the state probing, finding or verifying.
//   - A run that another process wrote last changes nothing before it has looked again: the store may be a copy from before what was done since.
//   - A value is stored, sealed, before a target hears of it, and one attempt sets one value: a second is made only after a login proved that
//     the first, which the target refused, is not in force.
//   - Whoever acts holds two leases: the object's, and those of the accounts by their identity at the target. A journal entry commits only under
//     both, and no call to a target may outlive them.
//   - The label moves with the journal, the audit record and the event in one transaction, and only from the version on which the run began.
//     Any other write wins: the run then puts the target right and ends superseded.
//   - The old credential goes when the ledger says that nobody needs it, or by a deadline, an emergency or a person, whose word is recorded.
//   - What the engine cannot settle is stuck: open, visible, without a next date, its values kept. People replay, adopt or abort it.
package rotation
