package rotation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Incident is a leak, from its report until somebody has written down how it came about. It stands on the rotation that answers it, and stays open after that
// has ended: until the target refuses what leaked, and the root cause is recorded.
type Incident struct {
	// Version leaked. Opened is when that was reported, and By who did.
	Version vault.VersionID `json:"version"`
	Opened  time.Time       `json:"opened"`
	By      string          `json:"by"`
	// Exposure is since when the version was out, as far as that is known, and until when the target accepted it; Until is zero while it still may.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Cause is nil until it is recorded.
	Cause *RootCause `json:"cause,omitempty"`
	// Closed is when somebody closed the incident, and ClosedBy who did.
	Closed   time.Time `json:"closed,omitzero"`
	ClosedBy string    `json:"closedBy,omitempty"`
}

// RootCause says what leaked, how that could happen, and what was done so that it does not happen again. It holds no value.
type RootCause struct {
	What     string    `json:"what"`
	How      string    `json:"how"`
	Measures string    `json:"measures"`
	By       string    `json:"by"`
	At       time.Time `json:"at"`
}

// incidentRef is what the policy's state remembers of an open incident, by which it is found.
type incidentRef struct {
	Run     store.RunID     `json:"run"`
	Version vault.VersionID `json:"version"`
}

// incidentOf is the incident of a run that begins, or becomes urgent, because of a leak.
func incidentOf(start Start, now time.Time) *Incident {
	if start.Cause != Leaked {
		return nil
	}
	return &Incident{Version: start.Version, Opened: now, By: start.Actor, From: start.Exposed}
}

// report opens the incident of a leak in the transaction that starts its run.
func report(ctx context.Context, tx store.Tx, p *store.Policy, r *Run) error {
	ver, err := tx.Version(ctx, p.Object, r.Incident.Version)
	if isMissing(err) {
		return fault.New(fault.NotFound, "the secret %q has no version %q: list its versions, and name the one that leaked", p.NameKey,
			clip(string(r.Incident.Version))).Because("VersionNotFound")
	}
	if err != nil {
		return err
	}
	if ver.State == vault.Retired { // it was no use to anybody any more
		r.Incident.Until = ver.Attributes.Updated
	}
	doc, err := readPolicy(p)
	if err != nil {
		return err
	}
	n := *p
	if ref := (incidentRef{r.ID, r.Incident.Version}); !slices.Contains(doc.State.Incidents, ref) {
		doc.State.Incidents = append(doc.State.Incidents, ref)
	}
	return keep(ctx, tx, &n, doc)
}

// contained ends the exposure of the incidents whose version the target refuses now, whichever run has brought that about.
func (c *commit) contained(ctx context.Context, tx store.Tx, v vault.VersionID) error {
	p, doc, err := keptOf(ctx, tx, c.next.Object)
	if err != nil || p == nil {
		return err
	}
	for _, ref := range doc.State.Incidents {
		if ref.Version != v {
			continue
		}
		err := editIncident(ctx, tx, ref.Run, func(i *Incident) error {
			if i.Until.IsZero() {
				i.Until = c.op.At
			}
			return nil
		})
		if err != nil && !isMissing(err) {
			return err
		}
	}
	return nil
}

// editIncident changes the incident of a stored run.
func editIncident(ctx context.Context, tx store.Tx, id store.RunID, edit func(*Incident) error) error {
	stored, err := tx.Run(ctx, id)
	if err != nil {
		return err
	}
	r, err := ReadRun(stored)
	if err != nil {
		return err
	}
	if r.Incident == nil {
		return fault.New(fault.Conflict, "the run %s answers no leak: only such a run has an incident", id).Because("RunState")
	}
	if err := edit(r.Incident); err != nil {
		return err
	}
	record, err := r.Record()
	if err != nil {
		return err
	}
	return tx.PutRun(ctx, record)
}

// RecordCause writes down how a leak came about. It can be corrected until the incident is closed.
func (s *Service) RecordCause(ctx context.Context, call *guard.Call, id store.RunID, c RootCause) (*Run, error) {
	c.By, c.At = string(call.Caller.Principal), time.Time{}
	return s.incident(ctx, call, id, "the root cause of the leak is recorded", c.check(), func(_ context.Context, _ store.Tx, r *Run, i *Incident, now time.Time) error {
		if !i.Closed.IsZero() {
			return refused(r, "its incident was closed at %s", i.Closed.UTC().Format(time.RFC3339))
		}
		c.At = now
		i.Cause = &c
		return nil
	})
}

func (c *RootCause) check() error {
	for _, text := range []struct{ what, is string }{{"what leaked", c.What}, {"how that could happen", c.How}, {"the counter-measures", c.Measures}} {
		if text.is == "" || len(text.is) > maxTextBytes {
			return fault.New(fault.Invalid, "say in at most %d bytes %s: the incident cannot be closed without it", maxTextBytes, text.what)
		}
	}
	return nil
}

// CloseIncident ends an incident. It needs a root cause, and that the target refuses what leaked.
func (s *Service) CloseIncident(ctx context.Context, call *guard.Call, id store.RunID) (*Run, error) {
	return s.incident(ctx, call, id, "the incident is closed", nil, func(ctx context.Context, tx store.Tx, r *Run, i *Incident, now time.Time) error {
		switch {
		case !i.Closed.IsZero():
			return refused(r, "its incident was closed at %s", i.Closed.UTC().Format(time.RFC3339))
		case i.Cause == nil:
			return refused(r, "its incident has no root cause: record what leaked, how, and the counter-measures first")
		case i.Until.IsZero():
			return refused(r, "the target may still accept version %s, which leaked: wait for its revocation, or force it", i.Version)
		}
		i.Closed, i.ClosedBy = now, string(call.Caller.Principal)
		p, doc, err := keptOf(ctx, tx, r.Object)
		if err != nil || p == nil {
			return err
		}
		doc.State.Incidents = slices.DeleteFunc(doc.State.Incidents, func(ref incidentRef) bool { return ref.Run == r.ID })
		return keep(ctx, tx, p, doc)
	})
}

// incident changes the incident of a run of the call's vault.
func (s *Service) incident(ctx context.Context, call *guard.Call, id store.RunID, what string, wrong error,
	edit func(context.Context, store.Tx, *Run, *Incident, time.Time) error) (r *Run, err error) {
	need := guard.Need{Action: authz.RotationRepair, Kind: vault.Secret}
	if r, err = s.find(ctx, call, id); err != nil {
		return nil, s.unknownRun(ctx, call, need, err)
	}
	need.Name, need.Detail = r.NameKey, fmt.Sprintf("run %s: %s", id, what)
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	if wrong != nil {
		return nil, s.e.Guard.Refuse(ctx, call, need, wrong)
	}
	op := store.NewOp(s.e.now(call.Vault.Vault.Tenant))
	err = s.e.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		return editIncident(ctx, tx, id, func(i *Incident) error { return edit(ctx, tx, r, i, op.At) })
	})
	if err != nil {
		return nil, err
	}
	return s.find(ctx, call, id)
}

// Incidents lists the runs of the call's vault whose incidents are open, in the order of the objects' ids, those of objects after the given one first.
// A page may have a few more than the limit: the incidents of one secret stay together.
func (s *Service) Incidents(ctx context.Context, call *guard.Call, after vault.ObjectID, limit int) (list []*Run, next vault.ObjectID, err error) {
	need := guard.Need{Action: authz.RotationRead, Kind: vault.Secret}
	err = s.e.Guard.Read(ctx, call, &need, func() error {
		return s.e.Store.View(ctx, func(tx store.Tx) (err error) {
			list, next, err = openIncidents(ctx, tx, call.Vault.Vault.ID, after, limit)
			return err
		})
	})
	return list, next, err
}

func openIncidents(ctx context.Context, tx store.Tx, v vault.ID, after vault.ObjectID, limit int) (list []*Run, next vault.ObjectID, err error) {
	q := store.PolicyQuery{Vault: v, Kind: vault.Secret, After: after, Limit: pageSize}
	for {
		page, err := tx.Policies(ctx, q)
		if err != nil {
			return nil, "", err
		}
		for _, p := range page {
			var doc struct {
				State struct{ Incidents []incidentRef }
			}
			if err := json.Unmarshal(p.Doc, &doc); err != nil {
				return nil, "", fmt.Errorf("reading the rotation policy of %s: %w", p.Object, err)
			}
			for _, ref := range doc.State.Incidents {
				stored, err := tx.Run(ctx, ref.Run)
				if err != nil {
					return nil, "", err
				}
				r, err := ReadRun(stored)
				if err != nil {
					return nil, "", err
				}
				list = append(list, r)
			}
			if limit > 0 && len(list) >= limit {
				return list, p.Object, nil
			}
		}
		if len(page) < q.Limit {
			return list, "", nil
		}
		q.After = page[len(page)-1].Object
	}
}
