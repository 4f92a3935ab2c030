package durability_test

import (
	"testing"

	"github.com/keywright/keywright/e2e/killtest"
)

// TestKill kills the workload with each of the audit log's durabilities: both promise everything against kill -9.
func TestKill(t *testing.T) {
	for name, variant := range map[string]string{"fsync": "", "os": durabilityOS} {
		t.Run(name, func(t *testing.T) {
			killtest.Killer{
				Workload: "endless", Variant: variant, Kills: killtest.Kills(t, 25), Check: checkNode,
			}.Run(t).RequireSound(t)
		})
	}
}
