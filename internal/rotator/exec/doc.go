// Package exec changes credentials by running a program: once for each verb, in the words of package contract.
//
// The order comes on standard input, with the values in it; nothing secret is an argument or in the environment, which other users of the machine can
// read. The environment is fixed. The exit status is the answer; a status that the contract does not know, and a death by signal, are doubt. A program that
// is still there at its deadline is killed with everything in its process group, and dies with the server too.
//
// Whoever can write a policy must not thereby run what he likes: the operator of the server lists the programs, and each must be a file that nobody but
// root and the server's user can change, on a path of such directories.
package exec
