// Package cli is the command line over package client: commands are a singular noun and a verb. Data goes to standard
// output, everything else to standard error, so that output can be piped.
//
// It knows no part of the server. What only the program can do that is also a server (running it, proving an audit log from
// its files) is handed in by Config.
//
// No command asks anything unless standard input and standard error are a terminal, and for each question there is a flag
// that answers it.
package cli
