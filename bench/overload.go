package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// What an overload is: so many times the rate that the server sustains.
const overloaded = 10

// Bounds of the overload test. A read is to be answered within mostRead at the 99th percentile, and everything as before within mostRecovery.
const (
	leastGoodput = 0.8
	mostRead     = 100 * time.Millisecond
	mostRecovery = 5 * time.Second
)

// readEvery is how often a read is sent beside everything else, to see how long it takes.
const readEvery = 5 * time.Millisecond

// tally is what became of requests.
type tally struct {
	mu      sync.Mutex
	good    int
	refused int
	failed  int
	took    []time.Duration
	// last is the last failure that is no refusal.
	last error
}

func (t *tally) add(status int, err error, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil:
		t.failed++
		t.last = err
	case status == http.StatusOK:
		t.good++
		t.took = append(t.took, took)
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		t.refused++
	default:
		t.failed++
		t.last = fmt.Errorf("answered %d", status)
	}
}

func (t *tally) answered() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.good
}

// percentile is that of the time that good answers took.
func (t *tally) percentile(p float64) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.took) == 0 {
		return 0
	}
	slices.Sort(t.took)
	return t.took[min(len(t.took)-1, int(float64(len(t.took))*p))]
}

// flow sends requests from so many connections until it is stopped. Each sends the next one that is due as soon as it has its answer: at a rate that the
// connections cannot keep up with, requests wait for a connection, as they do in the pools of clients.
type flow struct {
	target *target
	// rate is in requests per second; 0 sends as fast as answers come.
	rate float64
	next source
	seen tally

	stop atomic.Bool
	sent atomic.Int64
	all  sync.WaitGroup
}

func (f *flow) start(connections int) error {
	conns := make([]*conn, connections)
	for i := range conns {
		c, err := dial(f.target)
		if err != nil {
			return err
		}
		conns[i] = c
	}
	began := time.Now()
	for i, c := range conns {
		f.all.Go(func() { f.run(i, c, began) })
	}
	return nil
}

func (f *flow) run(i int, c *conn, began time.Time) {
	defer func() { c.Close() }()
	for !f.stop.Load() {
		n := f.sent.Add(1)
		if f.rate > 0 {
			due := began.Add(time.Duration(float64(n) / f.rate * float64(time.Second)))
			time.Sleep(time.Until(due))
		}
		sent := time.Now()
		status, _, err := c.exchange(f.next(i, int(n)))
		if f.stop.Load() {
			return // what is under way at the end counts for nothing
		}
		f.seen.add(status, err, time.Since(sent))
		if err != nil {
			c.Close()
			if c, err = dial(f.target); err != nil {
				f.seen.add(0, err, 0)
				return
			}
		}
	}
}

func (f *flow) end() {
	f.stop.Store(true)
	f.all.Wait()
}

// during runs a flow as fast as answers come for so long, and returns what it saw.
func during(t *target, connections int, d time.Duration, next source) (*tally, error) {
	f := &flow{target: t, next: next}
	if err := f.start(connections); err != nil {
		return nil, err
	}
	time.Sleep(d)
	f.end()
	return &f.seen, nil
}

// work is what a server did in a while: good answers in a second, and in a second of its processor, which neighbours take from it.
type work struct{ perSecond, perCPU float64 }

// watch measures the work of the server while f runs, which returns the number of good answers.
func watch(t *target, f func() (int, error)) (work, error) {
	before, err := cpuTime(t.pid)
	if err != nil {
		return work{}, err
	}
	began := time.Now()
	good, err := f()
	if err != nil {
		return work{}, err
	}
	took := time.Since(began)
	after, err := cpuTime(t.pid)
	return work{float64(good) / took.Seconds(), float64(good) / (after - before).Seconds()}, err
}

// overload floods a server with token requests and listings, and looks at what is left of it.
type overload struct {
	*options
	product *product
	mix     source
	read    source
}

func runOverload(o *options) (err error) {
	processor, err := apart()
	if err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "keywright-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.dir)
	}
	seen, err := flooded(o, processor)
	if err != nil {
		return err
	}
	return seen.report(o)
}

// flooded runs a server on one processor and floods it.
func flooded(o *options, processor int) (_ *outcome, err error) {
	v := &overload{options: o}
	if err := on(processor, func() (err error) {
		v.product, err = startProduct(o.binary, filepath.Join(o.dir, "overload"), "os")
		return err
	}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.product.child.end()) }()
	if err := v.product.fill(o.secrets, o.principals); err != nil {
		return nil, err
	}
	v.prepare()
	return v.measure()
}

// outcome is what became of a server under a flood. Peak is what it did at its best, done what it did meanwhile.
type outcome struct {
	peak, done   work
	sent         int64
	flood, reads *tally
	recovery     time.Duration
}

// prepare makes the requests: as many for tokens as for listings, and reads.
func (v *overload) prepare() {
	p := v.product
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {p.env["AZURE_CLIENT_ID"]}, "client_secret": {p.env["AZURE_CLIENT_SECRET"]},
		"scope": {p.env["KEYWRIGHT_URL"] + "/.default"}}.Encode()
	token := fmt.Appendf(nil, "POST /adfs/oauth2/token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		p.env["KEYWRIGHT_ADDR"], len(form), form)
	lists := make([][]byte, len(p.tokens))
	for i := range lists {
		lists[i] = p.request("GET", i, "", "")
	}
	v.mix = func(c, n int) []byte {
		if n%2 == 0 {
			return token
		}
		return lists[c%len(lists)]
	}
	v.read = p.reads(4, false)
}

func (v *overload) measure() (*outcome, error) {
	t := v.product.target()
	reads := &flow{target: t, rate: float64(time.Second / readEvery), next: v.read}
	if err := reads.start(4); err != nil {
		return nil, err
	}
	idle, peak, err := v.peak(t)
	if err != nil {
		return nil, err
	}
	reads.end()

	reads = &flow{target: t, rate: float64(time.Second / readEvery), next: v.read}
	flood := &flow{target: t, rate: overloaded * peak.perSecond, next: v.mix}
	if err := errors.Join(reads.start(4), flood.start(v.flooders)); err != nil {
		return nil, err
	}
	done, err := watch(t, func() (int, error) {
		time.Sleep(v.flood)
		return flood.seen.answered(), nil
	})
	if err != nil {
		return nil, err
	}
	sent := flood.sent.Load()
	reads.end()
	flood.end()
	recovery, err := v.recovery(t, idle)
	return &outcome{peak: peak, done: done, sent: sent, flood: &flood.seen, reads: &reads.seen, recovery: recovery}, err
}

// peak looks for the number of connections at which most is done in a second, and how long an answer takes when there are few.
func (v *overload) peak(t *target) (idle time.Duration, peak work, err error) {
	for i, connections := range []int{2, 8, 32, 128} {
		f := &flow{target: t, next: v.mix}
		if err := f.start(connections); err != nil { // handshakes are not what is measured
			return 0, work{}, err
		}
		did, err := watch(t, func() (int, error) {
			time.Sleep(v.duration)
			return f.seen.answered(), nil
		})
		f.end()
		if err != nil {
			return 0, work{}, err
		}
		seen := &f.seen
		if i == 0 {
			idle = seen.percentile(0.99)
		}
		fmt.Fprintf(os.Stderr, "%4d connections: %7.0f/s, %7.0f per second of CPU, %d refused, %d failed, p50 %s, p99 %s\n", connections, did.perSecond, did.perCPU,
			seen.refused, seen.failed, rounded(seen.percentile(0.5)), rounded(seen.percentile(0.99)))
		peak.perSecond, peak.perCPU = max(peak.perSecond, did.perSecond), max(peak.perCPU, did.perCPU)
	}
	return idle, peak, nil
}

// recovery is how long it takes until a second goes by in which nothing is refused and answers take about as long as they did before.
func (v *overload) recovery(t *target, idle time.Duration) (time.Duration, error) {
	const step = 500 * time.Millisecond
	began := time.Now()
	for well := 0; ; {
		seen, err := during(t, 2, step, v.mix)
		if err != nil {
			return 0, err
		}
		if seen.refused+seen.failed > 0 || seen.percentile(0.9) > max(2*idle, mostRead) {
			well = 0
		} else {
			well++
		}
		took := time.Since(began)
		if well == 2 {
			return took - 2*step, nil
		}
		if took > time.Minute {
			return took, nil
		}
	}
}

func (s *outcome) report(o *options) error {
	seconds := o.flood.Seconds()
	fmt.Printf("peak %.0f/s; offered %.0f/s for %s over %d connections\n", s.peak.perSecond, overloaded*s.peak.perSecond, o.flood, o.flooders)
	fmt.Printf("sent %.0f/s; answered %.0f/s, %.0f per second of CPU; refused %.0f/s, failed %d; p50 %s, p99 %s\n", float64(s.sent)/seconds, s.done.perSecond,
		s.done.perCPU, float64(s.flood.refused)/seconds, s.flood.failed, rounded(s.flood.percentile(0.5)), rounded(s.flood.percentile(0.99)))
	fmt.Printf("reads meanwhile: %d answered, %d refused, %d failed; p50 %s, p99 %s\n", s.reads.good, s.reads.refused, s.reads.failed,
		rounded(s.reads.percentile(0.5)), rounded(s.reads.percentile(0.99)))
	if err := errors.Join(s.flood.last, s.reads.last); err != nil {
		fmt.Println("a failure:", err)
	}
	b := &bench{options: o}
	return b.judge([]bound{
		{Name: "goodput under ten times the load: of the peak", Ratio: s.done.perSecond / s.peak.perSecond, Min: leastGoodput},
		{Name: "the same, per second of CPU", Ratio: s.done.perCPU / s.peak.perCPU, Min: leastGoodput},
		{Name: "p99 of reads meanwhile, in seconds", Ratio: s.reads.percentile(0.99).Seconds(), Max: mostRead.Seconds()},
		{Name: "reads meanwhile: answered of those sent", Ratio: s.answeredReads(), Min: 0.999},
		{Name: "recovery, in seconds", Ratio: s.recovery.Seconds(), Max: mostRecovery.Seconds()},
	}, nil)
}

// answeredReads is the share of the reads that were answered.
func (s *outcome) answeredReads() float64 {
	return float64(s.reads.good) / float64(max(1, s.reads.good+s.reads.refused+s.reads.failed))
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Microsecond) }
