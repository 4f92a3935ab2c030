package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

var jobHeader = []string{"ID", "KIND", "STATUS", "STARTED", "ENDED", "ADDRESS", "DETAILS"}

func jobRow(j *api.VaultJob) []string {
	return []string{j.ID, j.Kind, j.Status, when(&j.Started), when(j.Ended), j.Address, first(j.Error, j.Details)}
}

// maxSignature bounds a shared access signature, in bytes.
const maxSignature = 16 << 10

// containerFlags say where the copy of a vault lies.
type containerFlags struct {
	in        api.VaultContainer
	tokenFile string
	noWait    bool
}

func (f *containerFlags) flags(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.in.Address, "container", "", "address of a container of Azure Blob Storage, or of what speaks its protocol")
	s.StringVar(&f.tokenFile, "token-file", "", "file with a shared access signature for the container; - for standard input")
	s.BoolVar(&f.noWait, "no-wait", false, "return while the work goes on")
	c.MarkFlagRequired("container")
}

func (a *app) container(f *containerFlags) (api.VaultContainer, error) {
	if f.tokenFile != "" {
		token, err := a.readInput(f.tokenFile, maxSignature)
		if err != nil {
			return f.in, err
		}
		f.in.Token = strings.TrimSpace(string(token))
	}
	return f.in, nil
}

func (a *app) vaultCopy() *cobra.Command {
	var f containerFlags
	c := &cobra.Command{Use: "copy NAME", Short: "Copy a vault into a blob container, sealed", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		Example: "  keywright vault copy demo --container https://account.blob.core.windows.net/copies --token-file sas.txt",
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			return a.copyVault(c, cl, args[0], &f, cl.CopyVault)
		})}
	f.flags(c)
	return c
}

func (a *app) vaultCopyRestore() *cobra.Command {
	var f containerFlags
	c := &cobra.Command{Use: "copy-restore NAME", Short: "Bring back what is in a copy of a vault and not in the vault", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			return a.copyVault(c, cl, args[0], &f, cl.RestoreVault)
		})}
	f.flags(c)
	c.Flags().StringVar(&f.in.Folder, "folder", "", "folder of the copy: the last part of the address that the copy told")
	c.MarkFlagRequired("folder")
	return c
}

// pollJob is how often the state of a job is asked for.
const pollJob = 500 * time.Millisecond

func (a *app) copyVault(c *cobra.Command, cl *client.Client, vault string, f *containerFlags,
	begin func(context.Context, string, api.VaultContainer) (*api.VaultJob, error)) error {
	at, err := a.container(f)
	if err != nil {
		return err
	}
	job, err := begin(c.Context(), vault, at)
	if err != nil {
		return err
	}
	for !f.noWait && job.Status == "InProgress" {
		select {
		case <-c.Context().Done():
			return c.Context().Err()
		case <-time.After(pollJob):
		}
		if job, err = cl.VaultJob(c.Context(), vault, job.Kind, job.ID); err != nil {
			return err
		}
	}
	if err := a.show(job, table{jobHeader, jobRow(job)}); err != nil {
		return err
	}
	if job.Status == "Failed" {
		return errors.New(first(job.Error, "the job failed"))
	}
	return nil
}

func (a *app) vaultJobs() *cobra.Command {
	return &cobra.Command{Use: "copy-jobs NAME", Short: "List the copies and restores of a vault of the last day, newest first", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			all := []api.VaultJob{}
			for j, err := range cl.VaultJobs(c.Context(), args[0]) {
				if err != nil {
					return err
				}
				all = append(all, *j)
			}
			return a.show(all, rows(jobHeader, all, jobRow))
		})}
}
