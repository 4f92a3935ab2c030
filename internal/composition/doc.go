// Package composition keeps secrets that are made of other secrets of their vault: a connection string of a host, a user and a password, of
// which each changes by itself.
//
// A secret may have a template. Its value is the template with the current values of its parts filled in, and it is made anew whenever a
// part gets another current version: the follower compares what each composed secret was made of with what is current, at its start, after every
// commit that concerns a part, and now and then. It keeps no position that could be lost, so a crash at any point delays a value and loses none.
// A composed secret may be a part of others; a ring of them is refused when it would be closed.
//
// What is pending or spreading is not filled in: parts settle first. Who sets a template must be allowed to read all of its parts, because whoever
// reads the composed secret reads them.
//
// Templates hold no values: they are stored in the clear.
package composition
