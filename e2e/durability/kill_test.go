package durability_test

import (
	"testing"

	"github.com/keywright/keywright/e2e/killtest"
)

func TestKill(t *testing.T) {
	killtest.Killer{Workload: "endless", Kills: killtest.Kills(t, 25), Check: checkStore}.Run(t).RequireSound(t)
}
