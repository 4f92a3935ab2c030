package powerloss_test

import (
	"testing"

	"github.com/keywright/keywright/e2e/powerloss"
)

func TestMain(m *testing.M) {
	powerloss.Main(m, map[string]powerloss.Workload{
		"sqlite": sqliteWorkload,
		"log":    logWorkload,
		"calls":  callsWorkload,
		"full":   fullWorkload,
		"retry":  retryWorkload,
	})
}
