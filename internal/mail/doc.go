// Package mail takes letters to people, over a relay that the operator names.
//
// A Letter is added to the Outbox in the transaction of what it tells, so that none is lost and none is sent of what did not happen. The outbox is a subscriber like those
// of events, in the same durable queue, with one delivery for each recipient. One worker of all nodes sends: it notes the attempt, hands the letter to the relay, and
// removes the delivery. A crash in between repeats the attempt after its pause, so a letter arrives at least once; each repetition bears the Message-ID of the first,
// by which mail systems tell, and the attempts are counted before they are made, so that not even a process which dies each time sends more than a few.
//
// The relay is reached over TLS, from the first byte (smtps) or by STARTTLS (smtp), which is demanded and not hoped for; a relay on this machine, at a loop-back address,
// may do without. Letters hold names, instants and what to do next, never values.
//
// Sources: RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 5322 and RFC 2047 (the form of letters), RFC 8314 (smtps), RFC 3834 (Auto-Submitted).
package mail
