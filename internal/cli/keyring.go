package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// keyLayers are the layers of keys, from the top.
var keyLayers = []string{"root", "tenant", "vault", "data", "audit", "backup", "digest", "service"}

// keyringCaller is who tells of keys and rotates them: a tenant's server, or the server on this machine.
type keyringCaller interface {
	KeyringStatus(ctx context.Context) (*api.KeyringStatus, error)
	RotateKeyring(ctx context.Context, in api.RotateKeys) (*api.KeysRotated, error)
}

func (a *app) keyringCommand() *cobra.Command {
	c := &cobra.Command{Use: "keyring", Short: "See and rotate the keys that protect everything",
		Long: `See and rotate the keys that protect everything: those of the tenant of whoever is signed in, or with --dir, on the machine of the server and as its user, those of the installation
or of the tenant that --tenant names.`}
	c.PersistentFlags().String("dir", "", "directory of the server on this machine, for the keys of the installation itself")
	c.PersistentFlags().String("tenant", "", "with --dir: the id or the name of the tenant whose keys are meant")
	c.AddCommand(a.keyringStatus(), a.keyringRotate())
	return c
}

// withKeyring calls the server on this machine when its directory is named, and else the one of the environment.
func (a *app) withKeyring(run func(c *cobra.Command, k keyringCaller) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		tenant, _ := c.Flags().GetString("tenant")
		if dir, _ := c.Flags().GetString("dir"); dir != "" {
			return a.locally(func(c *cobra.Command, l *client.Local, _ []string) error { return run(c, l.Keyring(tenant)) })(c, args)
		}
		if tenant != "" {
			return usage("--tenant goes with --dir: at the server's address the keys are those of the tenant of whoever is signed in")
		}
		return a.with(func(c *cobra.Command, cl *client.Client, _ []string) error { return run(c, cl) })(c, args)
	}
}

func (a *app) keyringStatus() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show the keys of each layer, and what is still to be moved to new ones", Args: cobra.NoArgs,
		RunE: a.withKeyring(func(c *cobra.Command, k keyringCaller) error {
			s, err := k.KeyringStatus(c.Context())
			if err != nil {
				return err
			}
			return a.showKeyring(s)
		})}
}

func (a *app) showKeyring(s *api.KeyringStatus) error {
	rows := table{{"LAYER", "KEYS", "OLD", "NEWEST", "TO MOVE", "VERSIONS SEEN", "MOVED"}}
	for i := range s.Layers {
		l := &s.Layers[i]
		rows = append(rows, []string{l.Layer, fmt.Sprint(l.Keys), fmt.Sprint(l.Old), when(l.Newest), fmt.Sprint(l.Moving), fmt.Sprint(l.Seen), fmt.Sprint(l.Moved)})
	}
	return a.show(s, rows)
}

func (a *app) keyringRotate() *cobra.Command {
	var in api.RotateKeys
	var wait bool
	c := &cobra.Command{Use: "rotate", Short: "Make new keys of a layer, while everything goes on",
		Long: `Make new keys of a layer, while everything goes on. What the old keys protect still opens, and is moved to the new ones behind the requests; when nothing needs
an old key any more, backups included, it is destroyed. The layer data gives every version a fresh data key, and encrypts it anew; vault wraps the data keys anew.`,
		Example: "  keywright keyring rotate --layer vault --wait\n  keywright keyring rotate --layer root --dir /var/lib/keywright\n" +
			"  keywright keyring rotate --layer backup --dir /var/lib/keywright --tenant contoso", Args: cobra.NoArgs,
		RunE: a.withKeyring(func(c *cobra.Command, k keyringCaller) error {
			made, err := k.RotateKeyring(c.Context(), in)
			if err != nil {
				return err
			}
			a.say("New keys in the layer %s: %d.", in.Layer, made.Made)
			if !wait && (a.output == "json" || a.output == "yaml") {
				return a.show(made, nil)
			}
			if !wait {
				return nil
			}
			return a.awaitMoved(c.Context(), k, in.Layer)
		})}
	f := c.Flags()
	f.StringVar(&in.Layer, "layer", "", "layer: "+strings.Join(keyLayers, ", "))
	f.StringVar(&in.Vault, "vault", "", "rotate the keys of this vault alone, for the layers vault and data")
	f.BoolVar(&wait, "wait", false, "wait until everything was moved to the new keys")
	c.MarkFlagRequired("layer")
	c.RegisterFlagCompletionFunc("layer", cobra.FixedCompletions(keyLayers, cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("vault", a.completeVaults)
	return c
}

// awaitMoved waits until nothing of a layer is to be moved, and tells how it goes.
func (a *app) awaitMoved(ctx context.Context, k keyringCaller, layer string) error {
	last := ""
	for {
		s, err := k.KeyringStatus(ctx)
		if err != nil {
			return err
		}
		moving := 0
		for _, l := range s.Layers {
			if l.Layer != layer {
				continue
			}
			if moving = l.Moving; moving > 0 {
				if now := fmt.Sprintf("%d to move, %d versions seen, %d moved", l.Moving, l.Seen, l.Moved); now != last {
					a.say("%s", now)
					last = now
				}
			}
		}
		if moving == 0 {
			return a.showKeyring(s)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second / 4):
		}
	}
}
