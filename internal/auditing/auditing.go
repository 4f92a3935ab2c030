// Package auditing is the service by which people look at the audit logs of all nodes: query them, prove them, export them, and take signed
// checkpoints away. Each of these is itself authorised and recorded. A caller sees the records of the own tenant alone;
// whoever proves the logs learns nothing of any tenant.
//
// What this node acknowledged before a query, an export or a proof began is in it: the record of a change, which follows the change
// from the store's journal into the log, is waited for. Of the other nodes there is what they have shipped, and the answer says what is missing.
package auditing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/audit/disk"
	"github.com/keywright/keywright/internal/audit/export"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Config makes a Service. Everything is required.
type Config struct {
	Guard *guard.Guard
	Store store.Store
	Log   *audit.Log
	// CatchUp waits until the records of all changes that this node committed are in the log; audit.Sequencer.CatchUp does.
	CatchUp func(context.Context) error
	// Reader reads the logs of all nodes.
	Reader *archive.Reader
	// Key is the public key that the node's checkpoints are signed by, as text (golang.org/x/mod/sumdb/note); the key's name is the log's origin.
	Key string
}

// Service shows the audit log. It is safe for concurrent use.
type Service struct{ Config }

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Log == nil || c.CatchUp == nil || c.Reader == nil {
		return nil, errors.New("the auditing service needs a guard, a store, the audit log, a way to wait for it, and a reader of all logs")
	}
	if _, err := ParseKey(c.Key); err != nil {
		return nil, err
	}
	return &Service{c}, nil
}

// tenantScope is where the audit log is read.
const tenantScope = "/"

// Behind is the reason of a refusal to read a log that lacks the records of acknowledged changes.
const Behind fault.Reason = "AuditBehind"

// catchUpTimeout is how long a reader waits for the records of acknowledged changes. They take milliseconds when all is well.
const catchUpTimeout = 2 * time.Second

// current makes the log hold everything that was acknowledged before the call, durable: what was shown once does not vanish with
// the power. A log that cannot is fault.Unavailable: an answer that misses a record would pass for a whole one.
func (s *Service) current(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	if err := s.CatchUp(waiting); err != nil {
		e := fault.New(fault.Unavailable, "the audit log lacks the records of some changes, which wait in the store: try again, and see the server's log and "+
			"status if it stays so").Because(Behind)
		e.Err = err
		return e
	}
	return s.Log.Sync(ctx)
}

// Query returns the records of the caller's tenant that the filter selects, whatever tenant the filter names.
func (s *Service) Query(ctx context.Context, call *guard.Call, f audit.Filter) (answer *archive.Answer, err error) {
	need := guard.Need{Action: authz.AuditRead, Scope: tenantScope}
	err = s.Guard.Read(ctx, call, &need, func() (err error) {
		if f, err = s.own(ctx, call, f); err == nil {
			answer, err = s.Reader.Query(ctx, f)
		}
		return err
	})
	return answer, err
}

// own is a filter that cannot leave the caller's tenant: an empty tenant in a filter would select all of them.
func (s *Service) own(ctx context.Context, call *guard.Call, f audit.Filter) (audit.Filter, error) {
	if call.Caller.Tenant == "" {
		return f, fault.New(fault.Forbidden, "the caller belongs to no tenant")
	}
	f.Tenant = string(call.Caller.Tenant)
	return f, s.current(ctx)
}

// Format is a form in which records are exported.
type Format string

// The formats.
const (
	Azure   Format = "azure"
	OCSF    Format = "ocsf"
	CEF     Format = "cef"
	RFC5424 Format = "rfc5424"
)

// Export calls open once it is decided and recorded that the caller may, with what the export lacks, and writes the selected records to what open
// returns. An error before that is the caller's; one after it ends the output early.
func (s *Service) Export(ctx context.Context, call *guard.Call, f audit.Filter, format Format, open func([]archive.Missing) io.Writer) error {
	var records iter.Seq2[*audit.Record, error]
	var missing []archive.Missing
	need := guard.Need{Action: authz.AuditExport, Scope: tenantScope}
	err := s.Guard.Read(ctx, call, &need, func() (err error) {
		switch format {
		case Azure, OCSF, CEF, RFC5424:
		default:
			return fault.New(fault.Invalid, "the format %q is not one of azure, ocsf, cef and rfc5424", string(format[:min(len(format), 32)]))
		}
		if f, err = s.own(ctx, call, f); err == nil {
			records, missing, err = s.Reader.Records(ctx, f)
		}
		return err
	})
	if err != nil {
		return err
	}
	if format == Azure {
		return export.Azure(open(missing), records, s.resources(ctx))
	}
	return writeLines(open(missing), records, format)
}

func writeLines(w io.Writer, records iter.Seq2[*audit.Record, error], format Format) error {
	var line []byte
	for r, err := range records {
		if err != nil {
			return err
		}
		switch line = line[:0]; format {
		case OCSF:
			line, err = export.AppendOCSF(line, r)
		case CEF:
			line = export.AppendCEF(line, r)
		case RFC5424:
			line = export.AppendRFC5424(line, r)
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// resources finds the resource ids of vaults, each once.
func (s *Service) resources(ctx context.Context) export.ResourceID {
	known := make(map[string]string)
	return func(r *audit.Record) (string, error) {
		if r.VaultID == "" {
			return "", nil
		}
		id, ok := known[r.VaultID]
		if ok {
			return id, nil
		}
		err := s.Store.View(ctx, func(tx store.Tx) error {
			v, err := tx.Vault(ctx, vault.ID(r.VaultID))
			if err == nil {
				id = v.Scope()
			}
			return err
		})
		if err != nil && !fault.Is(err, fault.NotFound) {
			return "", fmt.Errorf("finding the vault of audit record %d: %w", r.Index, err)
		}
		known[r.VaultID] = id // a vault that is gone has no resource id any more
		return id, nil
	}
}

// Verify proves the logs of all nodes from their checkpoints and from those that were kept elsewhere, one behind the other as Checkpoint gives them.
func (s *Service) Verify(ctx context.Context, call *guard.Call, checkpoints []byte) (reports []archive.LogReport, err error) {
	need := guard.Need{Action: authz.AuditVerify, Scope: tenantScope}
	err = s.Guard.Read(ctx, call, &need, func() error {
		if err := s.current(ctx); err != nil {
			return err
		}
		if err := s.Log.Checkpoint(ctx); err != nil {
			return err
		}
		reports, err = s.Reader.Verify(ctx, archive.SplitCheckpoints(checkpoints))
		return err
	})
	return reports, err
}

// ParseKey reads the public key that checkpoints are signed by.
func ParseKey(text string) (note.Verifier, error) {
	v, err := note.NewVerifier(strings.TrimSpace(text))
	if err != nil {
		return nil, fault.New(fault.Invalid, "the audit key is not one: expected a line such as keywright/NODE+HASH+KEY")
	}
	return v, nil
}

// VerifyDir proves the log in a directory. It needs no server; a log that a server writes meanwhile can be proved too. Of the checkpoints those of this log
// count, by their origin.
func VerifyDir(ctx context.Context, dir string, verifier note.Verifier, checkpoints []byte) (audit.Report, error) {
	d, err := disk.ReadDir(dir)
	if err != nil {
		return audit.Report{}, fmt.Errorf("opening the audit log: %w", err)
	}
	defer d.Close()
	all := archive.SplitCheckpoints(checkpoints)
	own := slices.DeleteFunc(slices.Clone(all), func(signed []byte) bool { return archive.CheckpointOrigin(signed) != verifier.Name() })
	if len(own) == 0 {
		own = all // if none is of this log, that is what is wrong
	}
	return audit.Verify(ctx, d, audit.VerifyOptions{Origin: verifier.Name(), Verifiers: note.VerifierList(verifier), Checkpoints: own})
}

// Checkpoint returns the newest signed checkpoints (C2SP tlog-checkpoint) of all logs, this node's first, one behind the other: to be kept where nobody who
// can change the logs can reach them. Before the first one it is empty.
func (s *Service) Checkpoint(ctx context.Context, call *guard.Call) (signed []byte, err error) {
	need := guard.Need{Action: authz.AuditVerify, Scope: tenantScope}
	err = s.Guard.Read(ctx, call, &need, func() error {
		others, err := s.Reader.Checkpoints(ctx)
		signed = append(signed, s.Log.LatestCheckpoint()...)
		for _, c := range others {
			signed = append(signed, c...)
		}
		return err
	})
	return signed, err
}
