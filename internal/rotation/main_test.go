package rotation_test

import (
	"flag"
	"testing"
)

// The tests mostly wait for leases and for paces: one for each processor at a time would take minutes.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	m.Run()
}
