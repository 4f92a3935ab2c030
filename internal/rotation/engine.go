package rotation

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// EngineID is the principal under which the engine's own changes stand in the audit log.
const EngineID principal.ID = "00000000-0000-0000-0000-6b6579727774"

// Subject is the object of a run, as the ledger names it.
type Subject struct {
	Tenant vault.TenantID
	Vault  vault.ID
	Object vault.ObjectID
	// NameKey is the object's.
	NameKey string
	// Kind is the object's; empty for a secret.
	Kind vault.Kind
}

// Verdict is what the ledger says of an old version.
type Verdict struct {
	// Safe is true when nobody needs it any more. What is unknown is not safe.
	Safe bool
	// Waiting are those who may still need it.
	Waiting []Holder
	// Whole is since when the ledger misses nothing; zero for always. The grace of open revocations is counted from there.
	Whole time.Time
}

// Evidence says who still needs an old version. The ledger implements it.
type Evidence interface {
	// Verdict judges a version that another replaced at an instant.
	Verdict(ctx context.Context, o Subject, old, replacing vault.VersionID, since time.Time, p *Policy) (Verdict, error)
	// Seen tells of the sessions of a version that a target shows; none is evidence too.
	Seen(ctx context.Context, o Subject, v vault.VersionID, sessions []rotator.Session, at time.Time) error
}

// Rings observes the rings of an open rollout.
type Rings interface {
	// Observe says what is known since the latest ring was opened. probe is the URL of the health probe; "" for none.
	Observe(ctx context.Context, o Subject, r rollout.Rollout, probe string) (rollout.Observations, error)
	// CheckProbe reports whether the URL may be asked.
	CheckProbe(probe string) error
}

// Leasing holds the times of leases.
type Leasing struct {
	// TTL is how long a lease lives, Renew after how much of that it is prolonged, Slack how long after its end a successor waits. No call to
	// a target may last until nearer than Margin to its end.
	TTL, Renew, Slack, Margin time.Duration
}

// DefaultLeasing is the usual one: a successor starts at most 65 s after a crash.
var DefaultLeasing = Leasing{TTL: time.Minute, Renew: 20 * time.Second, Slack: 5 * time.Second, Margin: 5 * time.Second}

// LeasingFor is the usual one with another length of leases, its other times in proportion.
func LeasingFor(ttl time.Duration) Leasing {
	return Leasing{TTL: ttl, Renew: ttl / 3, Slack: ttl / 12, Margin: ttl / 12}
}

// Caps bound how many runs are at work at once in this process. For urgent runs there is one slot more at each bound.
type Caps struct{ Target, Rotator, Global int }

// DefaultCaps are the usual ones.
var DefaultCaps = Caps{Target: 2, Rotator: 16, Global: 64}

// DefaultPoll is how often the queue is looked at.
const DefaultPoll = time.Second

// Config makes an Engine. Store, Guard, Secrets, Evidence, Clock, Logger and Node are required.
type Config struct {
	Store   store.Store
	Guard   *guard.Guard
	Secrets *secret.Service
	// Certificates are needed to change authorities; nil where there are none.
	Certificates *cert.Service
	// Rotators are found by the name in their description.
	Rotators []rotator.Rotator
	Evidence Evidence
	// Rings is nil where there are no rollouts.
	Rings  Rings
	Clock  clock.Clock
	Logger *slog.Logger
	// Node names this process among those that share the store; no two processes may ever have the same.
	Node string
	// Machine names the clock that this process reads, through restarts; "" means Node.
	Machine string
	// Pace, Leasing and Caps have usual values where they are zero.
	Pace    Pace
	Leasing Leasing
	Caps    Caps
	// Poll is how often the queue is looked at; 0 means DefaultPoll. Schedule is how often policies and tasks are; 0 means ten seconds.
	Poll, Schedule time.Duration
	// MaxAge is how old secrets may become that neither expire nor have a maximum of their own nor a vault with a default: see MaxAgeTag. 0 limits nothing.
	MaxAge time.Duration
	// Observe hears of every move of a run; it must be quick, and may be nil.
	Observe func(Step)
	// Failpoint is called at every Point and may end the process; when it returns an error the worker drops everything, as if it had died. It is
	// nil in production.
	Failpoint func(Point) error
}

// Step is what metrics see of a move.
type Step struct {
	Kind     store.RunKind
	From, To State
	Reason   Reason
	Strategy rotator.Strategy
	Rotator  string
	// Lasted is how long the run was in From.
	Lasted time.Duration
	// Touched is true when a person gave an order in this run.
	Touched bool
}

// Engine drives runs.
type Engine struct {
	Config
	rotators map[string]rotator.Rotator
	slots    slots
	lane     lane
	wall     wall
	ages     sweep
	queue    queue
	wake     chan struct{}
	freed    chan struct{}
	returned chan struct{}
	moved    atomic.Bool

	mu      sync.Mutex
	cancel  context.CancelFunc // ends the loop and, after Stop's deadline, calls under way
	abandon context.CancelFunc
	running sync.WaitGroup
	stopped bool
	flying  map[store.RunID]bool
}

// New checks the configuration.
func New(c Config) (*Engine, error) {
	if c.Store == nil || c.Guard == nil || c.Secrets == nil || c.Evidence == nil || c.Clock == nil || c.Logger == nil || c.Node == "" {
		return nil, errors.New("a rotation engine needs a store, a guard, secrets, evidence, a clock, a logger and the name of its node")
	}
	if c.Pace == (Pace{}) {
		c.Pace = DefaultPace
	}
	if c.Leasing == (Leasing{}) {
		c.Leasing = DefaultLeasing
	}
	if c.Caps == (Caps{}) {
		c.Caps = DefaultCaps
	}
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	if c.Schedule == 0 {
		c.Schedule = 10 * time.Second
	}
	if c.Machine == "" {
		c.Machine = c.Node
	}
	if c.Observe == nil {
		c.Observe = func(Step) {}
	}
	if l := c.Leasing; l.Renew >= l.TTL || l.Margin >= l.TTL-l.Renew {
		return nil, errors.New("a lease has to be renewed earlier: what is left of it before a renewal must be longer than the margin of calls")
	}
	e := &Engine{Config: c, rotators: make(map[string]rotator.Rotator), lane: newLane(), wake: make(chan struct{}, 1), freed: make(chan struct{}, 1), returned: make(chan struct{}, 1), flying: make(map[store.RunID]bool)}
	for _, r := range c.Rotators {
		name := r.Describe().Name
		if e.rotators[name] != nil {
			return nil, errors.New("two rotators are called " + name)
		}
		e.rotators[name] = r
	}
	return e, nil
}

// Start takes up the queue until Stop. ctx ends it at once.
func (e *Engine) Start(ctx context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped || e.cancel != nil {
		return
	}
	ctx, e.abandon = context.WithCancel(ctx)
	var loop context.Context
	loop, e.cancel = context.WithCancel(ctx)
	e.running.Add(3)
	go func() {
		defer e.running.Done()
		e.loop(loop, ctx)
	}()
	go func() {
		defer e.running.Done()
		e.schedule(loop)
	}()
	go func() {
		defer e.running.Done()
		e.lend(loop, ctx)
	}()
}

// Stop takes up no more runs, lets those under way come to their next journal entry, and drops what is left when ctx is over: whoever comes
// next continues it. It may be called before Start, and again.
func (e *Engine) Stop(ctx context.Context) {
	e.mu.Lock()
	e.stopped = true
	cancel, abandon := e.cancel, e.abandon
	e.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	done := make(chan struct{})
	go func() { e.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	abandon()
	<-done
}

// Wake makes the engine look at its queue now.
func (e *Engine) Wake() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *Engine) loop(loop, work context.Context) {
	tick := time.NewTicker(e.Poll)
	defer tick.Stop()
	for fresh := true; ; {
		// For a place that became free there is somebody waiting, or else a look has to be taken: runs that moved may have made others due. One that could
		// not be driven, since another worker has it, is left alone until the next tick.
		if fresh || !e.fill(loop, work) && len(e.queue.waiting) == 0 && e.moved.Swap(false) {
			if err := e.look(loop, work); err != nil && loop.Err() == nil {
				e.Logger.Error("the queue of rotations could not be read: it is tried again", "error", err)
			}
		}
		select {
		case <-loop.Done():
			return
		case <-tick.C:
			fresh = true
		case <-e.wake:
			fresh = true
		case <-e.freed:
			fresh = false
		}
	}
}

func (e *Engine) schedule(ctx context.Context) {
	tick := time.NewTicker(e.Schedule)
	defer tick.Stop()
	for {
		if err := e.Tick(ctx); err != nil && ctx.Err() == nil {
			e.Logger.Error("not all rotations that are due could be started: they are tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// A look at the queue takes queueBatch due runs, and a deep one up to maxQueueBatch: when all of the first are held back by the bounds of their targets,
// for a target that is slow must not keep others waiting. A deep look costs what the queue is long, so it is taken at most every deepEach looks while
// runs that an earlier one found still wait.
const (
	queueBatch    = 256
	maxQueueBatch = 1 << 14
	deepEach      = 10
)

// queue are due runs for which there was no place, in their order. The loop alone uses it. What it holds may be over by now, or in other hands:
// whoever drives a run reads it anew.
type queue struct {
	waiting []waiting
	// looks counts those since the last deep one.
	looks int
}

type waiting struct {
	run  *Run
	seat seat
}

// look reads which runs are due and starts as many as the caps allow, the urgent ones first.
func (e *Engine) look(loop, work context.Context) error {
	deep := len(e.queue.waiting) == 0 || e.queue.looks >= deepEach
	e.queue.looks++
	for batch := queueBatch; batch <= maxQueueBatch; batch *= 8 {
		n, err := e.read(loop, batch)
		if err != nil {
			return err
		}
		if e.fill(loop, work) || n < batch || !deep || e.slots.full(e.Caps) {
			return nil
		}
		e.queue.looks = 0
	}
	return nil
}

// read puts the first due runs before those that wait already, and returns how many are due.
func (e *Engine) read(ctx context.Context, most int) (int, error) {
	// What the process before knew of the clock counts for the first runs too.
	if err := e.watchClock(ctx); err != nil {
		return 0, err
	}
	var due []*store.Run
	err := e.Store.View(ctx, func(tx store.Tx) (err error) {
		due, err = tx.Runs(ctx, store.RunQuery{Open: true, DueBefore: clock.Micro(e.wall.latest(e.Clock.Now())), Limit: most})
		return err
	})
	if err != nil {
		return 0, err
	}
	known := make(map[store.RunID]waiting, len(e.queue.waiting))
	for _, w := range e.queue.waiting {
		known[w.run.ID] = w
	}
	list := make([]waiting, 0, len(due)+len(known))
	for _, s := range due {
		if s.NextAt.After(e.now(s.Tenant)) {
			delete(known, s.ID)
			continue // its tenant's clock is behind that of another
		}
		w, ok := known[s.ID]
		if !ok || w.run.Rank != s.Rank {
			r, err := ReadRun(s)
			if err != nil {
				e.Logger.Error("a run cannot be read", "run", s.ID, "error", err)
				continue
			}
			w = waiting{r, seatOf(r)}
		}
		delete(known, s.ID)
		list = append(list, w)
	}
	if len(due) == most { // those behind them were not read
		for _, w := range e.queue.waiting {
			if _, behind := known[w.run.ID]; behind {
				list = append(list, w)
			}
		}
	}
	e.queue.waiting = list
	return len(due), nil
}

// fill starts those of the waiting runs for which there is a place. It returns true when there was one for any.
func (e *Engine) fill(loop, work context.Context) (started bool) {
	left := e.queue.waiting[:0]
	// Thousands may wait for a few places, and each place that becomes free asks anew: whom a full target or rotator keeps is passed over without a further look.
	full := make(map[string]bool)
	over := loop.Err() != nil
	for _, w := range e.queue.waiting {
		switch {
		case over:
		case !w.seat.urgent && (full[w.seat.rotator] || full[w.seat.target]):
			left = append(left, w)
		case e.busy(w.run.ID):
		default:
			ok, where := e.launch(loop, work, w)
			if started = started || ok; !ok {
				left = append(left, w)
			}
			if where != "" {
				full[where] = true
			}
		}
	}
	clear(e.queue.waiting[len(left):])
	e.queue.waiting = left
	return started
}

func (e *Engine) busy(id store.RunID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.flying[id]
}

// launch starts a run in a goroutine of its own, if there is a place for it, or tells which of its bounds is reached, as slots.take does.
func (e *Engine) launch(loop, work context.Context, w waiting) (ok bool, full string) {
	if ok, full = e.slots.take(w.seat, e.Caps); !ok {
		return false, full
	}
	id := w.run.ID
	e.mu.Lock()
	e.flying[id] = true
	e.mu.Unlock()
	e.running.Add(1)
	go func() {
		defer e.running.Done()
		if e.drive(loop, work, w.run) {
			e.moved.Store(true)
		}
		e.slots.free(w.seat)
		e.mu.Lock()
		delete(e.flying, id)
		e.mu.Unlock()
		select {
		case e.freed <- struct{}{}: // a place is free
		default:
		}
	}()
	return true, ""
}

// Drive takes one run as far as it goes now, in the caller's goroutine. It is for tests and for tools that run without a queue.
func (e *Engine) Drive(ctx context.Context, id store.RunID) error {
	var s *store.Run
	err := e.Store.View(ctx, func(tx store.Tx) (err error) {
		s, err = tx.Run(ctx, id)
		return err
	})
	if err != nil {
		return err
	}
	r, err := ReadRun(s)
	if err != nil {
		return err
	}
	e.drive(ctx, ctx, r)
	return nil
}

func roll() float64 { return rand.Float64() } //nolint:gosec // spreads waits; nothing depends on its being hard to guess
