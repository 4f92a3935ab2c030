// Package admission decides how many requests run at once, so that a server with too much to do keeps doing what matters most, and does it as fast as
// ever.
//
// Requests belong to classes by what they cost and what hangs on them. Each class has a limit on how many of its requests run at once, and a line in
// which the others wait. What is measured is how long work waits for the processors and for the store, not how many requests come: a tenth of a second
// in which work waited longer than a class can bear lowers the limit of that class, and one in which it did not lets it rise again (the idea of
// CoDel, RFC 8289, with limits that follow a gradient). Reads bear more than everything else, so that everything else gives way first:
//
//	class   what                                        gives way
//	read    values, public keys, metadata of tokens     last
//	use     operations with keys, orders to rotations   third
//	query   listings, tokens, everything else that reads  first
//	write   changes                                     first
//
// A line is fair between tenants: the next place goes to the tenant that has the fewest requests running (max-min fairness, as of RFC 970), a free place
// goes to whoever waits, and a tenant that has none running need not wait for the others, as long as not twice as many run as should. Within a tenant it
// is first come, first served, until the oldest is about to be refused: then the newest goes first, because there is no time for both ("adaptive LIFO").
//
// Whoever is let in gives way once, so that reads which came meanwhile do not wait behind work, and others get to their line.
//
// Who waits in vain is refused after some seconds, and not at once: a connection that waits sends nothing more meanwhile, and refusals, which cost
// nearly as much as answers to reads, stay few.
//
// The package does not know who asks or what for, and does not protect against callers who mean harm: rates of principals and vaults are guard's.
package admission
