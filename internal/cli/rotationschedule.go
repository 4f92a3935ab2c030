package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) rotationSchedule() *cobra.Command {
	c := &cobra.Command{Use: "schedule", Short: "See whether rotations start by schedule, and let them after the clock was moved"}
	c.AddCommand(a.scheduleStatus(), a.scheduleResume())
	return c
}

// pauseText says why nothing starts by schedule.
func pauseText(p *api.SchedulePause) string {
	d := time.Duration(p.ClockMovedSeconds) * time.Second
	way := "ahead"
	if d < 0 {
		d, way = -d, "back"
	}
	return fmt.Sprintf("the clock of the server was moved %s by %s", way, length(d))
}

func (a *app) scheduleStatus() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show whether rotations start by schedule", Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			s, err := cl.Status(c.Context())
			if err != nil {
				return err
			}
			state := struct {
				Node   string             `json:"node"`
				Paused *api.SchedulePause `json:"paused"`
			}{s.Node, s.SchedulesPaused}
			t := table{{"WHAT", "VALUE"}, {"node", s.Node}, {"paused", yesNo(state.Paused != nil)}}
			if p := state.Paused; p != nil {
				t = append(t, []string{"why", pauseText(p)}, []string{"goes on", "when the clock is back, or with: keywright rotation schedule resume --reason TEXT"})
			}
			return a.show(state, t)
		})}
}

func (a *app) scheduleResume() *cobra.Command {
	var reason string
	c := &cobra.Command{Use: "resume", Short: "Take the clock of the server for right, and start what is due",
		Long: `Take the clock of the server for right after it was moved, and start what is due by it, in every vault of the tenant. Look at the clock first.
It needs the role Keywright Schedule Operator, or Owner, for the whole tenant.`, Args: cobra.NoArgs}
	c.RunE = a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
		if err := a.confirm(c, "Is the clock of the server right? Every rotation of the tenant that is due by it starts."); err != nil {
			return err
		}
		if err := cl.ResumeSchedules(c.Context(), reason); err != nil {
			return err
		}
		a.say("Rotations start by schedule again.")
		return nil
	})
	c.Flags().StringVar(&reason, "reason", "", "how you made sure that the clock is right, which is recorded")
	c.MarkFlagRequired("reason")
	confirmFlag(c)
	return c
}
