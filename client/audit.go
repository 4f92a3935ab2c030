package client

import (
	"context"
	"io"
	"iter"
	"net/url"
	"time"

	"github.com/keywright/keywright/client/api"
)

const auditPath = "/api/v1/audit"

// AuditFilter selects audit records. A zero field selects all; fields are joined by and.
type AuditFilter struct {
	// From is inclusive, To exclusive.
	From, To                 time.Time
	Vault, Principal, Object string
	Action, Operation        string
	Outcome, Correlation     string
	// OldestFirst turns the order round.
	OldestFirst bool
	// Missing, when not nil, is called with a sentence for each node whose records the answer lacks, such as those that it has not shipped yet; it may be
	// called again with each page.
	Missing func(why string)
}

func (f *AuditFilter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"vault": f.Vault, "principal": f.Principal, "object": f.Object, "action": f.Action, "operation": f.Operation, "outcome": f.Outcome,
		"correlation": f.Correlation} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if !f.From.IsZero() {
		q.Set("from", f.From.UTC().Format(time.RFC3339Nano))
	}
	if !f.To.IsZero() {
		q.Set("to", f.To.UTC().Format(time.RFC3339Nano))
	}
	return q
}

// AuditRecords lists audit records, newest first unless the filter says otherwise.
func (c *Client) AuditRecords(ctx context.Context, f AuditFilter) iter.Seq2[*api.AuditRecord, error] {
	q := f.query()
	if f.OldestFirst {
		q.Set("order", "oldest")
	}
	return pages(ctx, c, auditPath+"/records", q, func(l *api.AuditPage) ([]api.AuditRecord, string) {
		for i := 0; i < len(l.Missing) && f.Missing != nil; i++ {
			f.Missing(l.Missing[i].Why)
		}
		return l.Items, l.Next
	})
}

// ExportAudit writes audit records to w, oldest first, in a form that other systems read: azure, ocsf, cef or rfc5424. After an
// error what was written is not whole.
func (c *Client) ExportAudit(ctx context.Context, f AuditFilter, format string, w io.Writer) error {
	q := f.query()
	q.Set("format", format)
	resp, err := c.patient().send(ctx, "GET", auditPath+"/export", q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for _, why := range resp.Header.Values(api.MissingHeader) {
		if f.Missing != nil {
			f.Missing(why)
		}
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

// VerifyAudit proves the audit logs of all nodes and, unless checkpoint is empty, that they continue the checkpoints in it, which
// were kept elsewhere.
func (c *Client) VerifyAudit(ctx context.Context, checkpoint string) (*api.AuditReport, error) {
	return do[api.AuditReport](ctx, c.patient(), "POST", auditPath+"/verify", nil, api.VerifyAudit{Checkpoint: checkpoint})
}

// AuditCheckpoint returns the newest signed checkpoint of each node's audit log.
func (c *Client) AuditCheckpoint(ctx context.Context) (*api.AuditCheckpoint, error) {
	return do[api.AuditCheckpoint](ctx, c, "GET", auditPath+"/checkpoint", nil, nil)
}
