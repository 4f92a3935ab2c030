package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Query, prove and export the audit log"}
	c.AddCommand(a.auditQuery(), a.auditVerify(), a.auditExport(), a.auditCheckpoint())
	return c
}

// auditFlags select records.
type auditFlags struct {
	client.AuditFilter
	from, to string
}

func (f *auditFlags) flags(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.from, "from", "", "first instant (RFC 3339, a date, or a duration such as -1h)")
	s.StringVar(&f.to, "to", "", "instant before which records end")
	s.StringVar(&f.Vault, "vault", "", "name of a vault")
	s.StringVar(&f.Principal, "principal", "", "object id of a principal")
	s.StringVar(&f.Object, "object", "", "name of an object, such as a secret")
	s.StringVar(&f.Action, "action", "", "what was asked for")
	s.StringVar(&f.Operation, "operation", "", "endpoint that was called, such as SecretGet")
	s.StringVar(&f.Outcome, "outcome", "", "allowed, denied, failed or unknown")
	s.StringVar(&f.Correlation, "correlation", "", "correlation id of a request")
}

func (f *auditFlags) filter() (client.AuditFilter, error) {
	for _, part := range []struct {
		flag, text string
		into       *time.Time
	}{{"from", f.from, &f.From}, {"to", f.to, &f.To}} {
		t, err := instant(part.flag, part.text)
		if err != nil {
			return f.AuditFilter, err
		}
		if t != nil {
			*part.into = *t
		}
	}
	return f.AuditFilter, nil
}

func (a *app) auditQuery() *cobra.Command {
	var f auditFlags
	var limit int
	c := &cobra.Command{Use: "query", Short: "List audit records, newest first", Args: cobra.NoArgs,
		Example: "  keywright audit query --vault demo --outcome denied --from -24h",
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			filter, err := f.filter()
			if err != nil {
				return err
			}
			filter.Missing = a.missing()
			all, several := []api.AuditRecord{}, false
			for r, err := range cl.AuditRecords(c.Context(), filter) {
				if err != nil {
					return err
				}
				all, several = append(all, *r), several || r.Log != ""
				if len(all) == limit {
					break
				}
			}
			header := []string{"TIME", "OUTCOME", "ACTION", "PRINCIPAL", "VAULT", "OBJECT", "REASON", "ADDRESS", "CORRELATION"}
			if several {
				header = append(header, "NODE")
			}
			return a.show(all, rows(header, all, func(r *api.AuditRecord) []string {
				return []string{r.Time.UTC().Format(time.RFC3339), r.Outcome, r.Action, first(r.UPN, r.Principal), r.Vault, r.ObjectName, r.Reason, r.Address,
					r.Correlation, r.Node}[:len(header)]
			}))
		})}
	f.flags(c)
	c.Flags().BoolVar(&f.OldestFirst, "oldest-first", false, "turn the order round")
	c.Flags().IntVar(&limit, "limit", 100, "the most records; 0 for all")
	return c
}

// missing tells people once what an answer lacks.
func (a *app) missing() func(string) {
	told := make(map[string]bool)
	return func(why string) {
		if !told[why] {
			told[why] = true
			a.say("Not all is here: %s.", why)
		}
	}
}

func (a *app) auditVerify() *cobra.Command {
	var dir, checkpoint string
	c := &cobra.Command{Use: "verify", Short: "Prove the audit logs of all nodes from their checkpoints",
		Long: `Prove the audit logs of all nodes from their checkpoints: that no record was changed, added or removed behind one. Logs that were cut back
to an older checkpoint together with the store are only found out with checkpoints that were kept elsewhere: keep those of "keywright audit
checkpoint", and give them with --checkpoint.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var kept []byte
			var err error
			if checkpoint != "" {
				if kept, err = a.readInput(checkpoint, maxValue); err != nil {
					return err
				}
			}
			report, err := a.verify(c, dir, kept)
			if err != nil {
				return err
			}
			if err := a.show(report, verifyTable(report)); err != nil {
				return err
			}
			for _, l := range report.Logs {
				if l.Missing != nil {
					a.say("Not all is here: %s.", l.Missing.Why)
				}
			}
			for _, p := range report.Problems {
				where := p.File
				if p.Log != "" {
					where = p.Log + ": " + where
				}
				a.say("%s: record %d: %s", where, p.Record, p.Detail)
			}
			if !report.OK {
				return errors.New("the audit log does not hold what its checkpoints say: keep a copy of it as it is, and find out who had access")
			}
			return nil
		}}
	c.Flags().StringVar(&checkpoint, "checkpoint", "", "file with signed checkpoints that were kept elsewhere; - for standard input")
	if a.VerifyAudit != nil {
		c.Flags().StringVar(&dir, "dir", "", "directory of a server, whose log is proved from its files without asking the server")
		c.MarkFlagDirname("dir")
	}
	return c
}

// verifyTable has a row for each log, or one for the only one.
func verifyTable(report *api.AuditReport) table {
	if len(report.Logs) < 2 {
		return table{{"OK", "RECORDS", "PROVEN", "CHECKPOINTS", "PROBLEMS"},
			{yesNo(report.OK), fmt.Sprint(report.Records), fmt.Sprint(report.Proven), fmt.Sprint(report.Checkpoints), fmt.Sprint(len(report.Problems))}}
	}
	t := table{{"OK", "RECORDS", "PROVEN", "CHECKPOINTS", "PROBLEMS", "COPIES", "WHOLE", "LOG"}}
	for _, l := range report.Logs {
		problems := 0
		for _, p := range report.Problems {
			if p.Log == l.Log {
				problems++
			}
		}
		whole := "yes"
		if l.Missing != nil {
			whole = "until " + l.Missing.Since.UTC().Format(time.RFC3339)
		}
		t = append(t, []string{yesNo(l.OK), fmt.Sprint(l.Records), fmt.Sprint(l.Proven), fmt.Sprint(l.Checkpoints), fmt.Sprint(problems), fmt.Sprint(l.Copies), whole, l.Log})
	}
	return t
}

func (a *app) verify(c *cobra.Command, dir string, checkpoint []byte) (*api.AuditReport, error) {
	if isTerminal(a.Stderr) {
		a.say("Proving the audit log; this reads all of it.")
	}
	if dir != "" {
		return a.VerifyAudit(c.Context(), dir, checkpoint)
	}
	cl, err := a.client()
	if err != nil {
		return nil, err
	}
	return cl.VerifyAudit(c.Context(), string(checkpoint))
}

func (a *app) auditExport() *cobra.Command {
	var f auditFlags
	var format, file string
	c := &cobra.Command{Use: "export", Short: "Write audit records in a form that other systems read, oldest first", Args: cobra.NoArgs,
		Example: "  keywright audit export --format ocsf --from 2026-11-01 --file november.jsonl",
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) (err error) {
			filter, err := f.filter()
			if err != nil {
				return err
			}
			filter.Missing = a.missing()
			out := a.Stdout
			if file != "-" {
				w, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|noFollow, 0o600)
				if err != nil {
					return err
				}
				told := a.progress(w)
				defer func() { told.end(); err = errors.Join(err, w.Close()) }()
				out = told
			}
			return cl.ExportAudit(c.Context(), filter, format, out)
		})}
	f.flags(c)
	c.Flags().StringVar(&format, "format", "azure", "azure (AuditEvent), ocsf, cef or rfc5424")
	c.Flags().StringVar(&file, "file", "-", "file to write to; - for standard output")
	c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"azure", "ocsf", "cef", "rfc5424"}, noFiles))
	return c
}

// progress tells on a terminal how much was written.
func (a *app) progress(w io.Writer) *counter {
	if !isTerminal(a.Stderr) {
		return &counter{w: w, to: io.Discard}
	}
	return &counter{w: w, to: a.Stderr}
}

type counter struct {
	w, to io.Writer
	n     int64
	told  time.Time
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if now := time.Now(); now.Sub(c.told) > time.Second {
		c.told = now
		fmt.Fprintf(c.to, "\r%d KiB", c.n>>10)
	}
	return n, err
}

// end leaves the line.
func (c *counter) end() {
	if !c.told.IsZero() {
		fmt.Fprintln(c.to)
	}
}

func (a *app) auditCheckpoint() *cobra.Command {
	return &cobra.Command{Use: "checkpoint", Short: "Print the newest signed checkpoint of each node's log, to be kept where nobody who can change the logs can reach them",
		Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			p, err := cl.AuditCheckpoint(c.Context())
			if err != nil {
				return err
			}
			if p.Checkpoint == "" {
				return errors.New("the server has signed no checkpoint yet: try again in some seconds")
			}
			if a.output == "" {
				_, err = io.WriteString(a.Stdout, p.Checkpoint)
				return err
			}
			return a.show(p, table{{"KEY"}, {p.Key}})
		})}
}
