//go:build race

package clients_test

// buildFlags make the server that is tested like the test itself.
var buildFlags = []string{"-race"}
