package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Several nodes. Each takes its own log into the ledger. Whoever asks writes down that, which every node hears of as it hears of any commit, and answers
// once it has taken in what it had recorded by then, repeated reads of the object included; until all have, nothing is said. Of a node that is gone there is
// what it has shipped, which another takes in; what it has not is unknown, and unknown is not safe: nothing may go until the node has been fenced for as long
// as it may have served from memory. Then nobody can get the version from it any more, and those who did before are waited for as after a power loss: the
// grace begins again.

// asksSetting is the list of what was asked last, by which nodes hear of it.
const asksSetting = "ledger-asks"

// maxAsks bounds the list. A node that has missed some of them answers for everything.
const maxAsks = 64

// ask is one question: of one object, or of all when the object is empty.
type ask struct {
	Op    store.OpID `json:"op"`
	Vault vault.ID   `json:"v,omitempty"`
	Kind  vault.Kind `json:"k,omitempty"`
	Name  string     `json:"n,omitempty"`
}

// answerCursor names, among the readers of the journal, up to which question a node has answered.
func answerCursor(node string) string { return "ledger/" + node }

// How long an asker waits for the others, and how often it looks.
const (
	answerTimeout = 5 * time.Second
	answerPace    = 30 * time.Millisecond
)

// Changed hears of a commit. It belongs to the store's watchers, where there are several nodes.
func (l *Ledger) Changed(c *store.Commit) {
	for _, ch := range c.Changes {
		if ch.Kind != store.SettingChanged || ch.Key != asksSetting {
			continue
		}
		l.mu.Lock()
		if _, own := l.asking[c.Op.ID]; own {
			l.asking[c.Op.ID] = c.Position
			l.mu.Unlock()
			return // this node's own deliveries it knows
		}
		l.asked = c.Position
		if l.interrupt != nil {
			l.interrupt()
		}
		l.mu.Unlock()
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// others is what the other logs say at one moment.
type others struct {
	// live are the nodes that have to answer.
	live []string
	// whole is since when nothing that another node delivered can be missing: a node is gone with records that nobody has.
	whole time.Time
}

// look finds out whom an answer has to wait for. A node that is gone and not safe yet is a fault.Unavailable that names it, unless only those that live matter.
func (l *Ledger) look(ctx context.Context, o *Object, living bool) (who others, err error) {
	logs, peers, err := l.Reader.Logs(ctx)
	if err != nil {
		return who, err
	}
	err = l.Store.View(ctx, func(tx store.Tx) error {
		who = others{}
		for _, log := range logs {
			if log.Origin == l.Log.Origin() {
				continue
			}
			i := slices.IndexFunc(peers, func(p archive.Peer) bool { return p.ID == log.Node })
			live := i >= 0 && peers[i].Live
			c, err := l.courseOf(ctx, tx, log.Node)
			if err != nil {
				return err
			}
			if c != nil && len(c.Restarted) > 0 {
				who.whole = later(who.whole, c.Restarted[len(c.Restarted)-1])
			}
			if live && log.Node != l.Node && archive.Successor(log, logs) == nil {
				who.live = append(who.live, log.Node)
				continue
			}
			if living {
				continue
			}
			var peer *archive.Peer
			if i >= 0 && !live {
				peer = &peers[i]
			}
			whole, err := l.gone(ctx, tx, log, peer, c, o)
			if err != nil {
				return err
			}
			who.whole = later(who.whole, whole)
		}
		return nil
	})
	return who, err
}

// gone judges a log that nobody writes: since when the node behind it cannot have delivered anything that is not in the ledger.
func (l *Ledger) gone(ctx context.Context, tx store.Tx, log *store.AuditLog, peer *archive.Peer, c *course, o *Object) (whole time.Time, err error) {
	taken, err := tx.Projected(ctx, readerOf(log, c))
	if err != nil {
		return whole, err
	}
	if taken < log.Shipped {
		return whole, unknown("the audit log of the node %s, which is gone, is taken into the ledger up to record %d of %d: try again in a moment", log.Node, taken, log.Shipped)
	}
	switch {
	case log.Whole:
		return whole, nil
	case !log.Closed.IsZero():
		return log.Closed, nil
	case peer == nil:
		return whole, unknown("the node %s is not in the list of nodes, and its audit log is not closed yet: try again in a moment", log.Node)
	case peer.Stopped:
		return peer.Seen, nil // it answers nobody, but did not ship everything
	}
	stale, err := staleFor(ctx, tx, o, peer.Seen)
	if err != nil {
		return whole, err
	}
	now, err := tx.Clock(ctx)
	if err != nil {
		return whole, err
	}
	safe := peer.Fenced.Add(stale)
	if now.Before(safe) {
		return whole, unknown("the node %s has not been heard of since %s and may have delivered what nobody knows of until %s: restore it, or remove it with \"keywright node remove %s\" "+
			"if it is certain that it answers nobody", log.Node, instant(peer.Seen), instant(safe), log.Node)
	}
	return safe, nil
}

// NodeUnknown is the reason of a refusal to say who holds what while a node has not said what it delivered.
const NodeUnknown fault.Reason = "NodeUnknown"

func unknown(format string, args ...any) error {
	return fault.New(fault.Unavailable, format, args...).Because(NodeUnknown)
}

// clocksApart is more than the clocks of a node and of the store are apart: a vault's update is by that of the node that made it, and when a node was seen by the store's.
const clocksApart = time.Minute

// staleFor is for how long after its end a node may have answered reads of an object from memory; of all objects, when there is none. A node that did not
// hear of a change of that bound may have gone by the longest one that there is.
func staleFor(ctx context.Context, tx store.Tx, o *Object, seen time.Time) (greatest time.Duration, err error) {
	if o == nil {
		q := store.VaultQuery{Limit: rowsPerPage}
		for {
			page, err := tx.Vaults(ctx, q)
			if err != nil {
				return 0, err
			}
			for _, v := range page {
				greatest = max(greatest, v.StaleFor)
			}
			if len(page) < q.Limit {
				return greatest, nil // who lists takes what the bounds are now; only who decides has to know what they were
			}
			q.After = page[len(page)-1].Name
		}
	}
	v, err := tx.Vault(ctx, o.Vault)
	if fault.Is(err, fault.NotFound) {
		return vault.MaxStaleFor, nil
	}
	if err != nil {
		return 0, err
	}
	if v.Updated.Add(clocksApart).After(seen) {
		return vault.MaxStaleFor, nil
	}
	return v.StaleFor, nil
}

// settle returns when everything that any node delivered before the call is in the ledger, exactly as far as it concerns the object; nil stands for all, up
// to Coarse. It returns since when nothing can be missing. A node that is gone and not safe yet is a fault.Unavailable that names it.
func (l *Ledger) settle(ctx context.Context, o *Object) (whole time.Time, err error) {
	if err := l.own(ctx); err != nil || l.Reader == nil {
		return l.whole, err
	}
	who, err := l.hear(ctx, o, false)
	return later(l.whole, who.whole), err
}

// Hear returns when every other node that lives has said what it delivered of an object. What it finds is what is there: of nodes that are gone nothing
// may follow.
func (l *Ledger) Hear(ctx context.Context, o Object) error {
	if l.Reader == nil {
		return nil
	}
	_, err := l.hear(ctx, &o, true)
	return err
}

func (l *Ledger) hear(ctx context.Context, o *Object, living bool) (who others, err error) {
	if who, err = l.look(ctx, o, living); err != nil || len(who.live) == 0 {
		return who, err
	}
	at, err := l.ask(ctx, o)
	if err != nil {
		return who, err
	}
	return l.answers(ctx, o, at, living)
}

// ask writes a question down and returns its position.
func (l *Ledger) ask(ctx context.Context, o *Object) (store.Position, error) {
	op := store.NewOp(l.Clock.Now())
	one := ask{Op: op.ID}
	if o != nil {
		one.Vault, one.Kind, one.Name = o.Vault, o.Kind, vault.NameKey(o.Name)
	}
	l.mu.Lock()
	l.asking[op.ID] = 0
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.asking, op.ID)
		l.mu.Unlock()
	}()
	err := l.Store.Update(ctx, op, func(tx store.Tx) error {
		asks, err := readAsks(ctx, tx)
		if err != nil {
			return err
		}
		asks = append(asks, one)
		text, err := json.Marshal(asks[max(0, len(asks)-maxAsks):])
		if err != nil {
			return err
		}
		return tx.PutSetting(ctx, asksSetting, text)
	})
	if err != nil && !errors.Is(err, store.ErrCommitted) {
		return 0, fmt.Errorf("asking the other nodes what they delivered: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := l.asking[op.ID]; at > 0 {
		return at, nil
	}
	return 0, fault.New(fault.Unavailable, "this node has not heard of its own question to the others: try again")
}

func readAsks(ctx context.Context, tx store.Tx) (asks []ask, err error) {
	text, err := tx.Setting(ctx, asksSetting)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &asks)
	}
	return asks, err
}

// answers waits until every node that lives has answered the question at a position.
func (l *Ledger) answers(ctx context.Context, o *Object, at store.Position, living bool) (others, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	missing := ""
	for {
		who, last, err := l.unanswered(ctx, o, at, living)
		switch {
		case ctx.Err() != nil && missing == "":
			return who, unknown("there was no time to ask the other nodes what they delivered: try again")
		case ctx.Err() != nil:
			return who, unknown("the node %s has not taken into the ledger what it delivered: try again, and see whether it is well if it stays so", missing)
		case err != nil || last == "":
			return who, err
		}
		missing = last
		sleep(ctx, answerPace)
	}
}

// unanswered returns the last node that has not answered the question at a position; "" when all have.
func (l *Ledger) unanswered(ctx context.Context, o *Object, at store.Position, living bool) (who others, last string, err error) {
	if who, err = l.look(ctx, o, living); err != nil {
		return who, "", err
	}
	err = l.Store.View(ctx, func(tx store.Tx) error {
		last = ""
		for _, node := range who.live {
			p, err := tx.Cursor(ctx, answerCursor(node))
			if err != nil {
				return err
			}
			if p < at {
				last = node
			}
		}
		return nil
	})
	return who, last, err
}

// answer answers what was asked since the last time, once everything that is recorded now is in the ledger. It belongs to the projection.
func (l *Ledger) answer(ctx context.Context) error {
	l.mu.Lock()
	asked, answered := l.asked, l.answered
	l.mu.Unlock()
	if l.Reader == nil || asked <= answered {
		return nil
	}
	index := l.Log.State().Records
	if err := l.Log.Sync(ctx); err != nil {
		return err
	}
	var asks []ask
	if err := l.Store.View(ctx, func(tx store.Tx) (err error) {
		asks, err = readAsks(ctx, tx)
		return err
	}); err != nil {
		return fmt.Errorf("reading what was asked of the ledger: %w", err)
	}
	for {
		if err := l.read(ctx); err != nil {
			return err
		}
		if err := l.commit(ctx, true); err != nil {
			return err
		}
		l.mu.Lock()
		behind := l.tail.Next() < index
		l.mu.Unlock()
		if !behind {
			break
		}
	}
	l.mu.Lock()
	of := askedOf(asks, l.lastAsk)
	l.mu.Unlock()
	if err := l.storeRough(ctx, of); err != nil {
		return err
	}
	err := l.Store.Update(ctx, store.NewOp(l.Clock.Now()), func(tx store.Tx) error { return tx.SetCursor(ctx, answerCursor(l.Node), asked) })
	if err != nil && !errors.Is(err, store.ErrCommitted) {
		return fmt.Errorf("answering what was asked of the ledger: %w", err)
	}
	l.mu.Lock()
	l.answered = asked
	if len(asks) > 0 {
		l.lastAsk = asks[len(asks)-1].Op
	}
	l.mu.Unlock()
	return nil
}

// askedOf tells of which objects the questions behind the last one are; nil stands for all, when that is not known any more.
func askedOf(asks []ask, last store.OpID) []objectKey {
	i := slices.IndexFunc(asks, func(a ask) bool { return a.Op == last })
	if i < 0 && len(asks) == maxAsks {
		return nil
	}
	of := []objectKey{} // none is not all
	for _, a := range asks[i+1:] {
		if a.Name != "" { // a question of all objects takes last deliveries as they are
			of = append(of, objectKey{a.Vault, a.Kind, a.Name})
		}
	}
	return of
}

// logName names a log among those whose position the store keeps: by its node, and from the node's second log on by what its origin has behind that.
func logName(origin, node string) string {
	if strings.HasPrefix(origin, archive.OriginPrefix+node+".") {
		return strings.TrimPrefix(origin, archive.OriginPrefix)
	}
	return node
}

// readerOf names the log of another node.
func readerOf(log *store.AuditLog, c *course) string {
	name := logName(log.Origin, log.Node)
	if c != nil && c.Generation > 0 && (c.Origin == "" || c.Origin == log.Origin) {
		name = fmt.Sprintf("%s#%d", name, c.Generation)
	}
	return name
}

// courseOf reads how the processes of a node went; nil when there was none.
func (l *Ledger) courseOf(ctx context.Context, tx store.Tx, node string) (*course, error) {
	text, err := tx.Setting(ctx, courseSetting(node))
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading how the ledger ended: %w", err)
	}
	c := new(course)
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("decoding how the ledger ended: %w", err)
	}
	return c, nil
}
