package main

import "runtime/debug"

// gcPercent is how far the heap of a server may grow beyond what lives in it before it is collected, in percent of that. Most of
// what a server allocates dies with its request, and what lives is bounded by the caches: a read costs 3 % less than with the
// runtime's own 100.
const gcPercent = 400

// collectSeldom applies gcPercent, unless the variable GOGC decides (package runtime, Environment Variables). A GOMEMLIMIT
// bounds the memory in either case.
func collectSeldom(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
