package native

import (
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/auditing"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
)

func (h *handler) auditRoutes() []door.Route {
	const log = root + "/audit"
	filter := []door.Param{{Name: "from", Summary: "The first instant, RFC 3339."}, {Name: "to", Summary: "The instant before which records end, RFC 3339."},
		{Name: "vault", Summary: "The name of a vault."}, {Name: "principal", Summary: "A principal's object id."},
		{Name: "object", Summary: "The name of an object."}, {Name: "action", Summary: "What was asked for."},
		{Name: "operation", Summary: "The endpoint that was called, such as SecretGet."},
		{Name: "outcome", Summary: "allowed, denied, failed or unknown."}, {Name: "correlation", Summary: "The correlation id of a request."}}
	order := door.Param{Name: "order", Summary: "newest or oldest first; newest when absent."}
	format := door.Param{Name: "format", Summary: "azure, ocsf, cef or rfc5424.", Required: true}
	return []door.Route{
		{Method: "GET", Pattern: log + "/records", Operation: "AuditQuery", Action: authz.AuditRead.String(), Output: api.AuditPage{}, Serve: h.queryAudit,
			Query: append(append(filter[:len(filter):len(filter)], order), pageParams...), Summary: "Lists audit records."},
		{Method: "GET", Pattern: log + "/export", Operation: "AuditExport", Action: authz.AuditExport.String(), Serve: h.exportAudit,
			Query: append(filter[:len(filter):len(filter)], format), Summary: "Streams audit records in a form that other systems read, oldest first."},
		{Method: "POST", Pattern: log + "/verify", Operation: "AuditVerify", Class: admission.Query, Action: authz.AuditVerify.String(), MaxBody: maxSmallBody, Input: api.VerifyAudit{},
			Output: api.AuditReport{}, Summary: "Proves the audit logs of all nodes from their checkpoints.", Serve: h.verifyAudit},
		{Method: "GET", Pattern: log + "/checkpoint", Operation: "AuditCheckpoint", Action: authz.AuditVerify.String(), Output: api.AuditCheckpoint{},
			Summary: "Returns the newest signed checkpoint of each node's audit log, to be kept elsewhere.", Serve: h.checkpoint},
	}
}

func auditFilter(r *door.Request) (f audit.Filter, err error) {
	if f.From, err = queryInstant(r, "from"); err != nil {
		return f, err
	}
	if f.To, err = queryInstant(r, "to"); err != nil {
		return f, err
	}
	f.VaultName, f.PrincipalID, f.ObjectName = r.Query("vault"), r.Query("principal"), r.Query("object")
	f.CorrelationID, f.Operation = r.Query("correlation"), r.Query("operation")
	if f.Action = r.Query("action"); f.Action != "" {
		if a, err := authz.ParseAction(f.Action); err == nil {
			f.Action = a.String() // in the spelling of the records
		}
	}
	if text := r.Query("outcome"); text != "" {
		if f.Outcome = audit.ParseOutcome(text); f.Outcome == 0 {
			return f, fault.New(fault.Invalid, "the outcome %q is not one of allowed, denied, failed and unknown", fault.Clip(text))
		}
	}
	return f, nil
}

func queryInstant(r *door.Request, name string) (time.Time, error) {
	text := r.Query(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fault.New(fault.Invalid, "the parameter %q is no instant: write it as 2027-01-31T12:00:00Z", name)
	}
	return t, nil
}

func (h *handler) queryAudit(r *door.Request) error {
	f, err := auditFilter(r)
	if err != nil {
		return err
	}
	switch text := r.Query("order"); text {
	case "", "newest":
		f.NewestFirst = true
	case "oldest":
	default:
		return fault.New(fault.Invalid, "the order %q is not one of newest and oldest", fault.Clip(text))
	}
	if f.Cursor, f.Limit, err = page(r); err != nil {
		return err
	}
	found, err := h.Auditing.Query(r.HTTP.Context(), &r.Call, f)
	if err != nil {
		return err
	}
	out := api.AuditPage{Items: make([]api.AuditRecord, 0, len(found.Records))}
	for _, rec := range found.Records {
		out.Items = append(out.Items, wireRecord(rec))
	}
	if len(found.Records) == f.Limit {
		out.Next = next(found.Next)
	}
	for _, m := range found.Missing {
		out.Missing = append(out.Missing, wireMissing(m))
	}
	return r.JSON(http.StatusOK, out)
}

func wireRecord(r *audit.Record) api.AuditRecord {
	out := api.AuditRecord{Log: r.Log, Index: r.Index, Time: r.Time, ID: r.ID.String(), Node: r.Node, Door: r.Door, Action: r.Action, Operation: r.Operation,
		Scope: r.Scope, Instance: r.Instance, Status: int(r.Status), Reason: r.Reason, Detail: r.Detail,
		Principal: r.Caller.PrincipalID, AppID: r.Caller.AppID, UPN: r.Caller.UPN, Vault: r.VaultName, ObjectKind: r.ObjectKind, ObjectName: r.ObjectName,
		Version: r.Version, Correlation: r.CorrelationID, ClientRequest: r.ClientRequestID, UserAgent: r.UserAgent, Path: r.Path,
		Micros: r.Duration.Microseconds(), Count: r.Count, Shredded: r.Shredded}
	if !r.Shredded {
		out.Outcome = r.Outcome.String()
	}
	if r.ClientAddress.IsValid() {
		out.Address = r.ClientAddress.String()
		if r.ClientBits > 0 {
			out.Address = netip.PrefixFrom(r.ClientAddress, int(r.ClientBits)).String()
		}
	}
	return out
}

// exportTypes are the media types of the formats. CEF and RFC 5424 are lines of text.
var exportTypes = map[auditing.Format]string{auditing.Azure: "application/json", auditing.OCSF: "application/x-ndjson",
	auditing.CEF: "text/plain; charset=utf-8", auditing.RFC5424: "text/plain; charset=utf-8"}

// writeTimeout is how long a client may take to read what was written at once.
const writeTimeout = time.Minute

// steady writes an answer that may take longer than the bound for a request's answer, as long as its client keeps reading.
type steady struct {
	w       io.Writer
	control *http.ResponseController
}

func (s *steady) Write(b []byte) (int, error) {
	if err := s.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return s.w.Write(b)
}

func (h *handler) exportAudit(r *door.Request) error {
	f, err := auditFilter(r)
	if err != nil {
		return err
	}
	format, begun := auditing.Format(r.Query("format")), false
	err = h.Auditing.Export(r.HTTP.Context(), &r.Call, f, format, func(missing []archive.Missing) io.Writer {
		begun = true
		for _, m := range missing {
			r.Header().Add(api.MissingHeader, m.Why)
		}
		r.Header().Set("Content-Type", exportTypes[format])
		return &steady{r.Writer(), http.NewResponseController(r.Writer())}
	})
	if err != nil && begun {
		h.Logger.ErrorContext(r.HTTP.Context(), "an export of audit records ended early", "correlation", r.Call.Correlation, "error", err)
		panic(http.ErrAbortHandler) // the client must see that the export is not whole
	}
	return err
}

func (h *handler) verifyAudit(r *door.Request) error {
	var in api.VerifyAudit
	if len(r.Body()) > 0 {
		if err := r.Decode(&in); err != nil {
			return err
		}
	}
	reports, err := h.Auditing.Verify(r.HTTP.Context(), &r.Call, []byte(in.Checkpoint))
	if err != nil {
		return err
	}
	// Proving a long log may take longer than the bound for a request's answer.
	_ = http.NewResponseController(r.Writer()).SetWriteDeadline(time.Now().Add(writeTimeout))
	return r.JSON(http.StatusOK, reportOf(reports))
}

func (h *handler) checkpoint(r *door.Request) error {
	signed, err := h.Auditing.Checkpoint(r.HTTP.Context(), &r.Call)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, api.AuditCheckpoint{Checkpoint: string(signed), Key: h.Auditing.Key})
}
