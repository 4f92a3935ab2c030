package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func days(n int) string { return strconv.Itoa(n) + " days" }

// login is the sign-in for the environment's server.
func (a *app) login() (client.Login, error) {
	url := a.getenv("KEYWRIGHT_URL")
	if url == "" {
		return client.Login{}, usage("no server: name it with --url or KEYWRIGHT_URL")
	}
	c := client.Config{URL: url}
	if file := a.getenv("KEYWRIGHT_CA_FILE"); file != "" {
		var err error
		if c.RootCAs, err = client.ReadCAFile(file); err != nil {
			return client.Login{}, err
		}
	}
	dir, err := client.ConfigDir(a.Getenv)
	if err != nil {
		return client.Login{}, err
	}
	return client.Login{Authority: client.AuthorityFromEnv(a.getenv, c), Resource: url, Dir: dir}, nil
}

func (a *app) loginCommand() *cobra.Command {
	return &cobra.Command{Use: "login", Short: "Sign in with a code on another device", Args: cobra.NoArgs,
		Long: `Sign in as a person, with a code that is typed into a browser on any device. The sign-in is kept in ~/.config/keywright, readable
by this user alone, and renewed as long as the server allows it. A credential in the environment goes before it.`,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := a.login()
			if err != nil {
				return err
			}
			err = l.SignIn(c.Context(), func(d client.DeviceCode) {
				a.say("Open %s in a browser and enter the code %s.", d.URL, d.Code)
				if d.Direct != "" {
					a.say("Or open %s, which holds the code.", d.Direct)
				}
			})
			if err != nil {
				return err
			}
			a.say("Signed in.")
			if a.Getenv("KEYWRIGHT_CLIENT_SECRET") != "" || a.Getenv("AZURE_CLIENT_SECRET") != "" || a.Getenv("KEYWRIGHT_TOKEN") != "" {
				a.say("Warning: the environment holds a credential of an application, which goes before this sign-in. Unset it to be yourself.")
			}
			return nil
		}}
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{Use: "logout", Short: "Forget the sign-in", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := a.login()
			if err != nil {
				return err
			}
			was, err := l.SignOut()
			if err == nil && !was {
				a.say("There was no sign-in.")
			}
			return err
		}}
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show who you are, and how the server is", Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			s, err := cl.Status(c.Context())
			if err != nil {
				return err
			}
			return a.show(s, statusTable(cl.URL(), s))
		})}
}

func schedulesText(p *api.SchedulePause) string {
	if p == nil {
		return "yes"
	}
	return "paused: " + pauseText(p)
}

// fipsText says what is claimed of the cryptography. Where nothing is claimed there is nothing that it excepts.
func fipsText(on bool, module string, outside []string) string {
	if !on {
		return "no"
	}
	return "yes, module " + module + "; outside of it: " + strings.Join(outside, ", ")
}

// tokenText says where keys of -HSM types are.
func tokenText(t *api.TokenStatus) string {
	switch {
	case t == nil:
		return "none: they are in software"
	case t.Hardware:
		return t.Label + " (" + t.Manufacturer + " " + t.Model + ", hardware)"
	}
	return t.Label + " (" + t.Manufacturer + " " + t.Model + ", a token in software)"
}

func statusTable(url string, s *api.Status) table {
	rate := func(r float64) string {
		if r == 0 {
			return "none"
		}
		return strconv.FormatFloat(r, 'f', -1, 64) + " per second"
	}
	most := "none"
	if s.Limits.MaxVersions > 0 {
		most = strconv.Itoa(s.Limits.MaxVersions)
	}
	return table{{"WHAT", "VALUE"},
		{"server", url}, {"version", s.Version}, {"node", s.Node}, {"started", when(&s.Started)}, {"region", s.Region}, {"seal", s.Seal}, {"store", s.Store}, {"token of -HSM keys", tokenText(s.Token)},
		{"audit durability", s.Audit.Durability}, {"audit records", strconv.FormatInt(s.Audit.Records, 10)}, {"audit alarm", first(s.Audit.Alarm, "none")},
		{"rotations by schedule", schedulesText(s.SchedulesPaused)}, {"fips", fipsText(s.FIPS, s.FIPSModule, s.OutsideFIPS)},
		{"limit: bytes of a value", strconv.Itoa(s.Limits.MaxSecretBytes)}, {"limit: versions of a secret", most},
		{"limit: requests of a principal", rate(s.Limits.RequestsPerPrincipal)}, {"limit: requests to a vault", rate(s.Limits.RequestsPerVault)},
		{"limit: connections", strconv.Itoa(s.Limits.MaxConnections)}, {"limit: bytes of request bodies", strconv.FormatInt(s.Limits.MaxBodyMemory, 10)},
		{"you", first(s.Caller.UPN, s.Caller.Name, s.Caller.Principal)}, {"your kind", s.Caller.Kind}, {"your tenant", s.Caller.Tenant}}
}
