// Package endpoint watches which certificates are presented where. What a vault has stored proves nothing about what a server shows to its clients: a
// renewal that nobody installed, one node of three that was not reloaded, a chain without its intermediate are seen only by connecting.
//
// An endpoint is a place where TLS is spoken: a host and a port, the name that is asked for, and what has to be said before TLS begins. It is named so, and not a
// target, because a target is a system whose credential the product changes; nothing is changed here. It stands for a certificate of the vault, or, as an
// external one, for a certificate that is kept elsewhere and only watched.
//
// # Looking
//
// Due looks at every endpoint when it is time, as one worker of all nodes, which holds a lease. The name is resolved anew each time and every address is
// asked: several nodes behind one name may present different certificates, and the oldest still presented counts. An address that does not answer
// keeps what was last seen there until it answers or the name does not lead there any more.
//
// # Judging
//
// The findings of a look are a pure function of what was seen, of what the vault has, and of the instant:
//
//	expired, not-yet-valid      by the certificate's own dates
//	expiring                    the end comes nearer, and no renewal is planned before it
//	outdated                    a renewed certificate is not served
//	foreign                     a certificate that the vault does not know
//	wrong-name                  clients that ask for the name refuse it
//	incomplete, untrusted       an intermediate is missing; nothing leads to a trusted root
//	unreachable                 no TLS, after several tries
//
// A finding that lasts is an alarm. Its countdown is that of the oldest certificate still presented: at fixed marks of what is left of its life the alarm rises and is
// told again, and every day in between, until all is well. Alarms are events, and letters to the vault's contacts where mail is set up.
//
// # Trust
//
// Whoever may register an endpoint makes the server connect. The address of each connection is checked by the dial function, after names were resolved. Nothing that a
// server says is repeated in errors, but for numbers of its protocol and the contents of its certificates.
//
// Sources: RFC 5280 and RFC 9525 for chains and names; RFC 3207 (SMTP), RFC 9051 (IMAP), RFC 4511 (LDAP) for STARTTLS; "Message Flow" of PostgreSQL's manual for SSLRequest.
package endpoint
