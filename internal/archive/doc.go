// Package archive writes and reads copies of a whole store: one file, encrypted, engine-neutral, authenticated to its end.
//
// # The file
//
// A file is an age file (https://age-encryption.org/v1, binary form). Its recipients are the operator's, whose identities lie offline, and the installation's
// seal: a stanza
//
//	-> keywright-seal BASE64URL(name of the seal) ID
//	file key as the seal wrapped it, bound to the archive's id
//
// Whoever has one of the identities, or the seal, can open the file, and with the identities the age program can, too. Whoever has a recipient can write one for it;
// one that the seal opens takes the seal to write. What is in it stays wrapped as it is in the
// store, so that values take the seal as well. Age encrypts in chunks of 64 KiB, each bound to its place and the last one marked as the last: a file that was cut,
// changed, or put together anew does not open to its end, and Read says so before it says that all is well.
//
// The plaintext is a gzip stream (RFC 1952) of frames:
//
//	kind, 1 byte | length of the payload, uvarint | payload
//	'H'  header, JSON; the first one
//	'T'  table, JSON; the rows up to the next one are its
//	'R'  row: for each column of the table a tag, 1 byte, and the value
//	       0  NULL        1  integer, zigzag varint
//	       2  text, uvarint length and UTF-8        3  bytes, uvarint length and the bytes
//	'E'  end, JSON: rows and digest of each table; the last one
//
// Tables come in the order of their names, each with its columns in the order of theirs; integers are of 64 bits, and instants are microseconds since 1970 (UTC), as in the store. A digest is the
// exclusive or of the SHA-256 of all rows, so that it does not depend on their order, which engines may choose.
//
// Version 1 is the only one. A reader refuses versions above its own; members of JSON and tables may be added within a version.
package archive
