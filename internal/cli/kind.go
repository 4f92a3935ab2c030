package cli

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// kind is one kind of what a vault holds. The commands for what can be done with each of them alike are made here, once; the kinds differ in their words and in
// what is shown of them.
type kind[T any] struct {
	*app
	vault *string
	// noun is what one is called, and command how it is called on the command line.
	noun, command string
	in            func(*client.Vault) *client.Objects[T]
	header        []string
	row           func(*T) []string
	fate          func(*T) fate

	// listed is what the summary of a listing says besides.
	listed string
	// whole is what is deleted, recovered and purged with one.
	whole string
	// deleting and purging are what a person should know who is asked.
	deleting, purging string
	// copied is what a backup holds.
	copied string
}

// fate is what is told of one that is deleted.
type fate struct {
	vault, name, version string
	deleted, purgeAt     *time.Time
}

// commands are those that every kind has.
func (k *kind[T]) commands() []*cobra.Command {
	return []*cobra.Command{k.list(), k.versions(), k.delete(), k.recover(), k.purge(), k.backup(), k.restore()}
}

// named is a command on one that exists, or with deleted on one that is deleted.
func (k *kind[T]) named(verb, short string, deleted bool, run func(*cobra.Command, *client.Vault, string) error) *cobra.Command {
	names := k.complete()
	if deleted {
		names = k.completeDeleted()
	}
	return &cobra.Command{Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: argument(names),
		RunE: k.inVault(k.vault, func(c *cobra.Command, v *client.Vault, args []string) error { return run(c, v, args[0]) })}
}

func (k *kind[T]) show(one *T) error { return k.app.show(one, table{k.header, k.row(one)}) }

func (k *kind[T]) list() *cobra.Command {
	var deleted bool
	c := &cobra.Command{Use: "list", Short: "List the " + k.noun + "s of a vault" + k.listed, Args: cobra.NoArgs,
		RunE: k.inVault(k.vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
			list, header, row := k.in(v).List(c.Context()), k.header, k.row
			if deleted {
				list, header = k.in(v).ListDeleted(c.Context()), []string{"NAME", "VERSION", "DELETED", "PURGED ON"}
				row = func(one *T) []string {
					f := k.fate(one)
					return []string{f.name, f.version, when(f.deleted), when(f.purgeAt)}
				}
			}
			all, err := collect(list)
			if err != nil {
				return err
			}
			return k.app.show(all, rows(header, all, row))
		})}
	c.Flags().BoolVar(&deleted, "deleted", false, "list the deleted "+k.noun+"s that can be recovered")
	return c
}

func (k *kind[T]) versions() *cobra.Command {
	return k.named("versions", "List the versions of a "+k.noun+", oldest first", false, func(c *cobra.Command, v *client.Vault, name string) error {
		all, err := collect(k.in(v).Versions(c.Context(), name))
		if err == nil && len(all) == 0 {
			err = &client.Error{Kind: client.NotFound, Message: fmt.Sprintf("the %s %q of the vault %q does not exist, or has no version yet: see \"keywright %s list --vault %s\"",
				k.noun, name, v.Name(), k.command, v.Name())}
		}
		if err != nil {
			return err
		}
		return k.app.show(all, rows(k.header, all, k.row))
	})
}

func (k *kind[T]) delete() *cobra.Command {
	c := k.named("delete", "Soft-delete a "+k.noun+" "+k.whole+"; it can be recovered", false, func(c *cobra.Command, v *client.Vault, name string) error {
		if err := k.confirm(c, "Delete the %s %q of the vault %q %s?%s", k.noun, name, v.Name(), k.whole, k.deleting); err != nil {
			return err
		}
		gone, err := k.in(v).Delete(c.Context(), name)
		if err != nil {
			return err
		}
		f := k.fate(gone)
		k.say("Deleted. Until %s \"keywright %s recover %s --vault %s\" brings it back.", when(f.purgeAt), k.command, f.name, f.vault)
		return k.show(gone)
	})
	confirmFlag(c)
	return c
}

func (k *kind[T]) recover() *cobra.Command {
	return k.named("recover", "Bring a deleted "+k.noun+" back "+k.whole, true, func(c *cobra.Command, v *client.Vault, name string) error {
		got, err := k.in(v).Recover(c.Context(), name)
		if err != nil {
			return err
		}
		return k.show(got)
	})
}

func (k *kind[T]) purge() *cobra.Command {
	c := k.named("purge", "Destroy a deleted "+k.noun+" "+k.whole+" for good", true, func(c *cobra.Command, v *client.Vault, name string) error {
		if err := k.confirm(c, "Destroy the deleted %s %q of the vault %q %s for good?%s", k.noun, name, v.Name(), k.whole, k.purging); err != nil {
			return err
		}
		// It can be told before alone: what is purged has no name any more.
		left, err := k.in(v).Backups(c.Context(), name)
		if err != nil {
			return err
		}
		if err := k.in(v).Purge(c.Context(), name); err != nil {
			return err
		}
		k.say("Purged the %s %q of the vault %q. %s", k.noun, name, v.Name(), recoverable(left))
		return nil
	})
	confirmFlag(c)
	return c
}

// recoverable says until when backups can bring back what was purged.
func recoverable(r *api.Recoverable) string {
	switch {
	case !r.Backups:
		return "No backup that is known of can bring it back."
	case r.Until == nil:
		return "Backups can bring it back for as long as they are kept: no end is set."
	}
	return "Backups can bring it back until " + when(r.Until) + "."
}

func (k *kind[T]) backup() *cobra.Command {
	var file string
	c := k.named("backup", "Write a sealed copy of a "+k.noun, false, func(c *cobra.Command, v *client.Vault, name string) error {
		if file == "-" && isTerminal(k.Stdout) {
			return usage("a backup is binary, and standard output is a terminal: name a file with --file")
		}
		blob, err := k.in(v).Backup(c.Context(), name)
		if err != nil {
			return err
		}
		return k.writeOut(file, blob)
	})
	c.Long = "Write a sealed copy of a " + k.noun + " with " + k.copied + ". Only a vault of the same subscription, in this installation, can restore it."
	c.Example = "  keywright " + k.command + " backup NAME --vault demo --file NAME.backup"
	c.Flags().StringVar(&file, "file", "-", "file to write to, for this user alone; - for standard output")
	return c
}

func (k *kind[T]) restore() *cobra.Command {
	var file string
	c := &cobra.Command{Use: "restore", Short: "Bring a " + k.noun + " back from its backup", Args: cobra.NoArgs,
		Long:    "Bring a " + k.noun + " back from its backup, under the name that it had, which has to be free in the vault.",
		Example: "  keywright " + k.command + " restore --vault demo --file NAME.backup",
		RunE: k.inVault(k.vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
			blob, err := k.readInput(file, maxBackup)
			if err != nil {
				return err
			}
			got, err := k.in(v).Restore(c.Context(), blob)
			if err != nil {
				return err
			}
			return k.show(got)
		})}
	c.Flags().StringVar(&file, "file", "-", "file to read; - for standard input")
	return c
}

// complete offers the names of those that exist.
func (k *kind[T]) complete() completion {
	return k.completeBy((*client.Objects[T]).List)
}

// completeDeleted offers the names of those that are deleted.
func (k *kind[T]) completeDeleted() completion {
	return k.completeBy((*client.Objects[T]).ListDeleted)
}

func (k *kind[T]) completeBy(list func(*client.Objects[T], context.Context) iter.Seq2[*T, error]) completion {
	return offerOf(k.app, k.vault, func(ctx context.Context, v *client.Vault) iter.Seq2[*T, error] { return list(k.in(v), ctx) },
		func(one *T) string { return k.fate(one).name })
}
