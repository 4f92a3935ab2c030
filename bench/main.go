package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

type options struct {
	binary                                   string
	out                                      string
	dir                                      string
	rounds, connections, secrets, principals int
	duration                                 time.Duration
	role, part                               string
	flood                                    time.Duration
	flooders                                 int
}

func main() {
	var o options
	flag.StringVar(&o.binary, "keywright", "bin/keywright", "the `file` to measure")
	flag.StringVar(&o.out, "out", "", "also write the figures to this `file` as JSON")
	flag.StringVar(&o.dir, "dir", "", "a `directory` on the disk to measure; a temporary one by default")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each case is measured")
	flag.IntVar(&o.connections, "connections", 64, "keep-alive connections")
	flag.IntVar(&o.secrets, "secrets", 10000, "secrets in the vault")
	flag.IntVar(&o.principals, "principals", 64, "principals that read them")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "how long each measurement takes")
	flag.StringVar(&o.role, "role", "", "internal: what this process serves")
	flag.StringVar(&o.part, "part", "", "measure one `part` alone: secrets or keys; or overload or scale, which are runs of their own")
	flag.DurationVar(&o.flood, "flood", 20*time.Second, "how long an overload lasts")
	flag.IntVar(&o.flooders, "flooders", 2000, "connections of an overload")
	flag.Parse()
	run := measure
	switch o.part {
	case "overload":
		run = runOverload
	case "scale":
		run = runScale
	}
	switch o.role {
	case "bare":
		run = func(o *options) error { return serveBare(o.dir) }
	case "bare-keys":
		run = func(o *options) error { return serveBareKeys(o.dir) }
	case "transactions":
		run = runTransactions
	case "fill":
		run = runFill
	}
	if err := run(&o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// figure is one case: the median of its rounds.
type figure struct {
	Case          string  `json:"case"`
	PerSecond     float64 `json:"perSecond"`
	CPUPerRequest float64 `json:"cpuMicrosecondsPerRequest,omitempty"`
	P50           float64 `json:"p50Microseconds,omitempty"`
}

// bound is a ratio that must hold.
type bound struct {
	Name  string  `json:"name"`
	Ratio float64 `json:"ratio"`
	Min   float64 `json:"min,omitempty"`
	Max   float64 `json:"max,omitempty"`
}

func (b *bound) holds() bool {
	return (b.Min == 0 || b.Ratio >= b.Min) && (b.Max == 0 || b.Ratio <= b.Max)
}

func measure(o *options) error {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "keywright-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.dir = dir
	}
	b := newBench(o)
	var products [2]*product
	for i, durability := range []string{"os", "fsync"} {
		p, err := startProduct(o.binary, filepath.Join(o.dir, durability), durability)
		if err != nil {
			return err
		}
		defer p.child.end()
		if err := p.fill(o.secrets, o.principals); err != nil {
			return err
		}
		products[i] = p
	}
	if err := products[0].sample(o.dir); err != nil {
		return err
	}
	if o.part != "keys" {
		bare, end, err := startBare("bare", o.dir)
		if err != nil {
			return err
		}
		defer end()
		b.plan(products[0], products[1], bare)
	}
	if o.part != "secrets" {
		bare, end, err := startBare("bare-keys", o.dir)
		if err != nil {
			return err
		}
		defer end()
		if err := b.planKeys(products[0], bare); err != nil {
			return err
		}
	}
	if err := b.runRounds(); err != nil {
		return err
	}
	return b.report()
}

// startBare starts one of the ceilings in a process of its own.
func startBare(role, dir string) (t *target, end func() error, err error) {
	dir, err = os.MkdirTemp(dir, role+"-")
	if err != nil {
		return nil, nil, err
	}
	if sample := filepath.Join(filepath.Dir(dir), "sample.json"); role == "bare" {
		if err := os.Rename(sample, filepath.Join(dir, "sample.json")); err != nil {
			return nil, nil, err
		}
	}
	c, address, err := spawn(role+" ", os.Args[0], "-role", role, "-dir", dir)
	if err != nil {
		return nil, nil, err
	}
	roots, err := pool(filepath.Join(dir, "bare.pem"))
	if err != nil {
		c.end()
		return nil, nil, err
	}
	return &target{name: role, address: address, roots: roots, pid: c.cmd.Process.Pid}, c.end, nil
}

// https measures a server under requests over so many connections.
func (b *bench) https(t *target, connections int, next source) measurement {
	return func(d time.Duration) (figure, error) {
		r, err := load(t, connections, d, next)
		if err != nil {
			return figure{}, err
		}
		return figure{PerSecond: r.perSecond(), CPUPerRequest: r.cpuPerRequest(), P50: float64(r.p50().Nanoseconds()) / 1000}, nil
	}
}

// plan lists the cases. The bare server gets the very bytes that the product gets.
func (b *bench) plan(mapped, synced *product, bare *target) {
	reads := mapped.reads(b.connections, false)
	b.beside(readSlices, []measured{
		{"bare", b.https(bare, b.connections, reads)},
		{"read", b.https(mapped.target(), b.connections, reads)},
		{"read and write", b.besideGrants(mapped, b.https(mapped.target(), b.connections, mapped.reads(b.connections, true)))},
		{"read, audit synced", b.https(synced.target(), b.connections, synced.reads(b.connections, false))},
	})
	b.beside(readSlices, []measured{
		{"bare, one connection", b.https(bare, 1, reads)},
		{"read, one connection", b.https(mapped.target(), 1, reads)},
	})
	b.beside(1, []measured{
		{"write, 64 writers", b.https(mapped.target(), 64, mapped.writes(64))},
		{"transaction in process", b.transactions},
		{"append and sync", func(d time.Duration) (figure, error) {
			n, err := appendAndSync(b.dir, d)
			return figure{PerSecond: n}, err
		}},
	})
}

// transactions measures the store's part of a write, in a process and a database of its own.
func (b *bench) transactions(d time.Duration) (figure, error) {
	dir, err := os.MkdirTemp(b.dir, "transactions-")
	if err != nil {
		return figure{}, err
	}
	defer os.RemoveAll(dir)
	c, line, err := spawn("transactions ", os.Args[0], "-role", "transactions", "-dir", dir, "-duration", d.String(), "-secrets", strconv.Itoa(b.secrets))
	if err != nil {
		return figure{}, err
	}
	var f figure
	if _, err := fmt.Sscan(line, &f.PerSecond, &f.CPUPerRequest); err != nil {
		return f, err
	}
	return f, c.cmd.Wait()
}

// report prints the medians and the ratios, and fails when a bound is missed.
func (b *bench) report() error {
	var figures []figure
	for _, name := range b.names {
		f := b.median(name)
		figures = append(figures, f)
		fmt.Printf("%-28s %9.0f/s %7.1f us CPU %8.0f us p50\n", name, f.PerSecond, f.CPUPerRequest, f.P50)
	}
	var bounds []bound
	if b.part != "keys" {
		bounds = []bound{
			{Name: "read and write: requests per second of bare", Ratio: b.rate("read and write", "bare"), Min: 0.6},
			{Name: "read and write: CPU of bare", Ratio: b.cpu("read and write", "bare"), Max: 2},
			{Name: "read: CPU of bare", Ratio: b.cpu("read", "bare"), Max: 1.7},
			{Name: "read, audit synced: requests per second of bare", Ratio: b.rate("read, audit synced", "bare"), Min: 0.3},
			{Name: "read, audit synced: CPU of bare", Ratio: b.cpu("read, audit synced", "bare"), Max: 3.5},
			{Name: "read, one connection: p50 of bare", Ratio: b.p50("read, one connection", "bare, one connection"), Max: 1.5},
			{Name: "write, 64 writers: of one loop of append and sync", Ratio: b.rate("write, 64 writers", "append and sync"), Min: 1.25},
			{Name: "write, 64 writers: CPU of the transaction alone", Ratio: b.cpu("write, 64 writers", "transaction in process"), Max: 2.5},
		}
	}
	if b.part != "secrets" {
		bounds = append(bounds, b.keyBounds()...)
	}
	return b.judge(bounds, figures)
}

// judge prints the bounds, writes all to the file, and fails when a bound is missed.
func (b *bench) judge(bounds []bound, figures []figure) error {
	var missed error
	for _, r := range bounds {
		verdict := "ok"
		if !r.holds() {
			verdict = "MISSED"
			missed = errors.New("a bound was missed")
		}
		limit := fmt.Sprintf("at least %.2f", r.Min)
		switch {
		case r.Max > 0:
			limit = fmt.Sprintf("at most %.2f", r.Max)
		case r.Min == 0:
			limit = "no bound"
		}
		fmt.Printf("%-52s %6.2f  %-14s %s\n", r.Name, r.Ratio, limit, verdict)
	}
	if b.out != "" {
		raw, err := json.MarshalIndent(map[string]any{"figures": figures, "ratios": bounds, "rounds": b.rounds, "connections": b.connections,
			"secrets": b.secrets, "principals": b.principals}, "", "  ")
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(b.out), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(b.out, append(raw, '\n'), 0o644); err != nil {
			return err
		}
	}
	return missed
}
