package powerloss_test

import (
	"testing"

	"github.com/keywright/keywright/e2e/workload"
)

func TestMain(m *testing.M) {
	workload.Main(m, map[string]workload.Func{
		"sqlite":  sqliteWorkload,
		"log":     logWorkload,
		"calls":   callsWorkload,
		"full":    fullWorkload,
		"retry":   retryWorkload,
		"failing": failingWorkload,
	})
}
