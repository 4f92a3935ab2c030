package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/merkle"
	"github.com/keywright/keywright/internal/store"
)

// LogReport is what the proof of one log found.
type LogReport struct {
	audit.Report
	Origin, Node string
	// Before is the origin of the log that this one continues, and Why that came to its end.
	Before, Why string
	// Copies of the records are rows of changes that count in another log.
	Copies int64
	// Missing tells what of the log could not be read here; nil for nothing.
	Missing *Missing
}

// Verify proves the logs of all nodes: this node's from its files and from what was shipped of it, the others' from what was shipped. Checkpoints that were
// kept elsewhere are told apart by the origin in them; one of a log that the store does not know is a problem of its own.
func (r *Reader) Verify(ctx context.Context, kept [][]byte) ([]LogReport, error) {
	all, peers, err := r.logs(ctx)
	if err != nil {
		return nil, err
	}
	external, stray := byOrigin(kept, all)
	adopted := newAdopted(r.Store)
	var reports []LogReport
	for _, log := range all {
		v, err := r.verification(ctx, log, external[log.Origin])
		if err != nil {
			return nil, err
		}
		if len(all) > 1 {
			v.count = func(ctx context.Context, leaf audit.Leaf) (bool, error) { return r.counts(ctx, adopted, leaf, log) }
		}
		if log.Origin == r.Own.Origin() {
			err = v.own(ctx, r.Own, r.Dir)
		} else {
			err = v.shipped(ctx, r)
			v.report.Missing = missing(log, peers)
			v.lost(Successor(log, all))
		}
		if err != nil {
			return nil, err
		}
		reports = append(reports, v.report)
	}
	if len(stray) > 0 && len(reports) > 0 {
		for _, origin := range stray {
			reports[0].Problems = append(reports[0].Problems, audit.Problem{File: "the checkpoint kept elsewhere", Offset: -1, Index: -1,
				Detail: fmt.Sprintf("it is of a log %q that the store does not know: the store was set back or replaced, or the checkpoint is of another installation", origin)})
		}
	}
	return reports, nil
}

// byOrigin sorts checkpoints by the first line of their text, which says of which log they are.
func byOrigin(kept [][]byte, all []*store.AuditLog) (known map[string][][]byte, stray []string) {
	known = make(map[string][][]byte)
	for _, signed := range kept {
		origin := CheckpointOrigin(signed)
		if !slices.ContainsFunc(all, func(l *store.AuditLog) bool { return l.Origin == origin }) {
			stray = append(stray, origin)
			continue
		}
		known[origin] = append(known[origin], signed)
	}
	return known, stray
}

// counts reports whether a leaf is counted in its log.
func (r *Reader) counts(ctx context.Context, a *adopted, leaf audit.Leaf, log *store.AuditLog) (bool, error) {
	if !leaf.Change {
		return true, nil
	}
	node := log.Node
	switch home, err := a.home(ctx, leaf.ID, leaf.Time); {
	case err != nil:
		return false, err
	case home == "":
		rec, err := leaf.Open(r.Sealer)
		if err != nil {
			return false, err
		}
		node = rec.Node
	}
	return a.counts(ctx, leaf.ID, leaf.Time, node, log)
}

// verification is the proof of one log.
type verification struct {
	report LogReport
	log    *store.AuditLog
	note   note.Verifier
	points []point
	kept   [][]byte
	tree   merkle.Frontier
	count  func(context.Context, audit.Leaf) (bool, error)
}

type point struct {
	merkle.Checkpoint
	from string
}

// verification gathers the checkpoints of a log, in the order of their sizes.
func (r *Reader) verification(ctx context.Context, log *store.AuditLog, external [][]byte) (*verification, error) {
	v := &verification{log: log, kept: external, report: LogReport{Origin: log.Origin, Node: log.Node, Before: log.Before, Why: log.Why}}
	var err error
	if v.note, err = verifier(log); err != nil {
		return nil, err
	}
	var stored []*store.AuditCheckpoint
	err = r.Store.View(ctx, func(tx store.Tx) (err error) {
		stored, err = tx.AuditCheckpoints(ctx, log.Origin)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoints of the audit log %s: %w", log.Origin, err)
	}
	if n := len(stored); log.Size > 0 && (n == 0 || !bytes.Equal(stored[n-1].Signed, log.Checkpoint)) {
		stored = append(stored, &store.AuditCheckpoint{Origin: log.Origin, Size: log.Size, Signed: log.Checkpoint})
	}
	for _, c := range stored {
		v.point(c.Signed, "the checkpoint in the store", c.Size)
	}
	for _, signed := range external {
		v.point(signed, "the checkpoint kept elsewhere", -1)
	}
	slices.SortStableFunc(v.points, func(a, b point) int { return int(min(1, max(-1, a.Size-b.Size))) })
	v.report.Checkpoints = len(v.points)
	return v, nil
}

func (v *verification) point(signed []byte, from string, size int64) {
	c, err := merkle.OpenCheckpoint(signed, v.log.Origin, note.VerifierList(v.note))
	switch {
	case err != nil:
		v.problem(from, -1, "it does not hold: %v", err)
	case size >= 0 && c.Size != size:
		v.problem(from, size, "it covers %d records and is kept as one that covers %d", c.Size, size)
	default:
		v.points = append(v.points, point{c, from})
	}
}

// maxProblems bounds the problems of one log: one record that was removed makes every later root wrong.
const maxProblems = 100

func (v *verification) problem(where string, index int64, format string, args ...any) {
	if len(v.report.Problems) < maxProblems {
		v.report.Problems = append(v.report.Problems, audit.Problem{File: where, Offset: -1, Index: index, Detail: fmt.Sprintf(format, args...)})
	}
}

// own proves this node's log from its files, which hold all of it, and then what was shipped of it.
func (v *verification) own(ctx context.Context, log *audit.Log, dir string) error {
	signed := v.kept
	if v.log.Size > 0 {
		signed = append(slices.Clone(signed), v.log.Checkpoint)
	}
	report, err := audit.VerifyDir(ctx, dir, audit.VerifyOptions{Origin: v.log.Origin, Verifiers: note.VerifierList(v.note), Checkpoints: signed})
	if err != nil {
		return err
	}
	problems := v.report.Problems
	v.report.Report, v.report.Problems = report, append(report.Problems, problems...)
	if v.count == nil {
		return nil
	}
	_, err = log.Leaves(ctx, segment.Cursor{}, log.State().Synced, func(leaf audit.Leaf) error { return v.counted(ctx, leaf) })
	return err
}

func (v *verification) counted(ctx context.Context, leaf audit.Leaf) error {
	if v.count == nil {
		return nil
	}
	counts, err := v.count(ctx, leaf)
	if err == nil && !counts {
		v.report.Copies++
	}
	return err
}

// partsRead is how many parts are read at once: some megabytes.
const partsRead = 8

// shipped proves a log from its parts.
func (v *verification) shipped(ctx context.Context, r *Reader) error {
	var err error
	if v.tree, err = merkle.ParseFrontier(v.log.Frontier); err != nil || v.tree.Size() != v.log.Pruned {
		v.problem("the store", -1, "what is left of the %d records that were removed by age is damaged: %v", v.log.Pruned, err)
		return nil
	}
	v.report.Records = v.log.Pruned
	v.compare()
	for {
		parts, err := r.parts(ctx, store.AuditPartQuery{Origin: v.log.Origin, Behind: v.tree.Size(), Limit: partsRead})
		if err != nil {
			return fmt.Errorf("reading the parts of the audit log %s: %w", v.log.Origin, err)
		}
		for _, p := range parts {
			if ok, err := v.part(ctx, p); err != nil || !ok {
				return err
			}
		}
		if len(parts) < partsRead {
			break
		}
	}
	if v.tree.Size() < v.log.Shipped {
		v.problem("the store", v.tree.Size(), "records %d to %d were shipped and their parts are gone", v.tree.Size(), v.log.Shipped-1)
	}
	return nil
}

// part adds the records of a part. It reports false when nothing behind it can be counted.
func (v *verification) part(ctx context.Context, p *store.AuditPart) (bool, error) {
	where := fmt.Sprintf("part %d in the store", p.Base)
	if p.Base != v.tree.Size() {
		v.problem(where, v.tree.Size(), "it begins at record %d, and the parts before it end at %d: a part was removed or added", p.Base, v.tree.Size())
		return false, nil
	}
	err := leaves(p, func(leaf audit.Leaf) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		v.tree.Add(merkle.LeafHash(leaf.Frame))
		v.report.Records++
		v.compare()
		return v.counted(ctx, leaf)
	})
	bad := new(damaged)
	if errors.As(err, &bad) {
		v.problem(where, v.tree.Size(), "%s", bad.detail)
		return false, nil
	}
	return err == nil, err
}

// compare compares the tree with the checkpoints of its size.
func (v *verification) compare() {
	i, found := slices.BinarySearchFunc(v.points, v.tree.Size(), func(p point, size int64) int { return int(min(1, max(-1, p.Size-size))) })
	for ; found && i < len(v.points) && v.points[i].Size == v.tree.Size(); i++ {
		p := v.points[i]
		if root := v.tree.Root(); root != p.Root {
			v.problem(p.from, p.Size-1, "the checkpoint of size %d signs root %s and the shipped records give %s: a record below it was changed, removed or added, or the log was "+
				"continued in two ways", p.Size, p.Root, root)
		} else {
			v.report.Proven = p.Size
		}
	}
}

// lost says what checkpoints prove to have been there and nobody will ever ship. A node that is gone with its disk takes its tail along, as it must; one
// that came back with less than it had was set back.
func (v *verification) lost(next *store.AuditLog) {
	if len(v.points) == 0 || len(v.report.Problems) > 0 {
		return
	}
	last, m := v.points[len(v.points)-1], v.report.Missing
	switch {
	case last.Size <= v.report.Records:
	case m == nil:
		v.problem(last.from, v.report.Records, "the checkpoint covers %d records, and the log ended in order with %d: its end was cut off", last.Size, v.report.Records)
	case m.Lost && next != nil:
		v.problem(last.from, v.report.Records, "the checkpoint covers %d records, of which %d were shipped, and the node went on with the log %s since %s: %s", last.Size,
			v.report.Records, next.Origin, next.Begun.UTC().Format(time.RFC3339), next.Why)
	case m.Lost:
		m.Why += fmt.Sprintf("; the checkpoints prove that there were records %d to %d", v.report.Records, last.Size-1)
	}
}
