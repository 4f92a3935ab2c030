// Package config reads the one file that a production server is told everything by.
//
// The file is YAML and is read strictly: a key that means nothing, a value of the wrong type or out of its bounds, and a
// combination that cannot be are all mistakes, and all of them are told at once, each with its line, what is wrong and what
// to write instead. A server that starts in spite of a mistake in its file would do what nobody meant.
//
// No secret stands in the file, only paths of files that hold one. Load refuses such a file when others than the server's
// user may read it.
//
// File and the types below it are the only description of the format: their tags hold names, defaults and bounds, their
// comments say what is meant. The reference page and the commented example are made from both by the program in generate.
//
// The tags of a field:
//
//	yaml      the key
//	default   the value when the key is missing, as it would be written
//	required  the key must be there
//	example   what the commented example shows where there is no default
//	oneof     the words that are allowed
//	min, max  the bounds of a number, a duration or a size
//	schemes   the schemes that a URL may have
package config

//go:generate go run ./generate
