//go:build race

package clients_test

import (
	"os"
	"strings"
)

// buildFlags make the server that is tested like the test itself: with the flags that make test gives, so that nothing is compiled for it alone.
var buildFlags = append([]string{"-race"}, strings.Fields(os.Getenv("KEYWRIGHT_RACEFLAGS"))...)
