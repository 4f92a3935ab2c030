package durability_test

import (
	"testing"

	"github.com/keywright/keywright/e2e/workload"
)

func TestMain(m *testing.M) {
	workload.Main(m, map[string]workload.Func{
		"bounded": func(run *workload.Run) error { return nodeWorkload(run, false) },
		"endless": func(run *workload.Run) error { return nodeWorkload(run, true) },
	})
}
