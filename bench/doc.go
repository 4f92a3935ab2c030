// Command bench measures Keywright beside bare ceilings in one run and prints ratios: only figures taken side by side
// mean anything on a machine that others use too.
//
// The ceilings are a net/http handler that answers the same bytes and headers over the same TLS, and one loop that
// appends 4 KiB to a file and syncs it. Servers run as processes of their own, so that the CPU that they spend per
// request, which neighbours disturb least, can be read from the kernel. Each round measures every case once, in a
// shuffled order; cases that are compared are measured side by side, in slices of a second. What is printed is the
// median over the rounds, and a ratio is the median of the rounds' ratios.
//
//	make bench
//	go run ./bench -rounds 5 -duration 3s -out bin/bench.json
//
// It exits with status 1 when a bound is missed.
package main
