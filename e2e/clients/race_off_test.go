//go:build !race

package clients_test

var buildFlags []string
