package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// What the large installation has to keep to, beside one with few secrets.
const (
	fewSecrets       = 1000
	randomReads      = 100_000
	warmReads        = 400_000
	mostReady        = time.Second
	mostResident     = 300.0 // MiB
	leastZipf        = 0.75
	leastUniform     = 0.4
	mostFirstPage    = 10 * time.Millisecond
	listings         = 200
	diskPerSecret    = 4 << 10 // bytes, with the log of the build
	scaleConnections = 64
)

// scale compares a server that has many secrets with one that has few.
type scale struct {
	*bench
	few, many *product
	ready     time.Duration
	resident  float64
	firstPage time.Duration
}

func runScale(o *options) (err error) {
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "keywright-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.dir)
	} else if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	if err := roomFor(o.dir, int64(o.secrets)*diskPerSecret); err != nil {
		return err
	}
	s := &scale{bench: newBench(o)}
	if s.few, _, err = filled(o, "few", fewSecrets); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.few.child.end()) }()
	if s.many, s.ready, err = filled(o, "many", o.secrets); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.many.child.end()) }()
	return s.run()
}

// filled starts a server on a directory that was filled with so many secrets, and returns how long it took to be ready. What an earlier run left there is
// taken again.
func filled(o *options, name string, secrets int) (*product, time.Duration, error) {
	dir := filepath.Join(o.dir, fmt.Sprint(name, "-", secrets))
	if _, err := os.Stat(filepath.Join(dir, "filled")); err != nil {
		if err := fill(o, dir, secrets); err != nil {
			return nil, 0, err
		}
	}
	began := time.Now()
	p, err := startProduct(o.binary, dir, "os")
	if err != nil {
		return nil, 0, err
	}
	ready := time.Since(began)
	_, rest, _ := strings.Cut(p.env["KEYWRIGHT_ADDR"], ".")
	token, err := p.token(p.env["AZURE_CLIENT_ID"], p.env["AZURE_CLIENT_SECRET"], "https://"+rest)
	if err != nil {
		return nil, 0, errors.Join(err, p.child.end())
	}
	p.tokens = []string{token}
	return p, ready, nil
}

// fill makes a server's directory and puts secrets into it.
func fill(o *options, dir string, secrets int) error {
	p, err := startProduct(o.binary, dir, "os") // makes the vault and its keys
	if err != nil {
		return err
	}
	if err := p.child.end(); err != nil {
		return err
	}
	began := time.Now()
	c, _, err := spawn("filled", os.Args[0], "-role", "fill", "-dir", dir, "-secrets", strconv.Itoa(secrets))
	if err == nil {
		err = c.cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("filling a store: %w", err)
	}
	fmt.Fprintf(os.Stderr, "%d secrets were made in %s\n", secrets, time.Since(began).Round(time.Second))
	return os.WriteFile(filepath.Join(dir, "filled"), nil, 0o600)
}

func (s *scale) run() error {
	many := s.many.target()
	cumulative := zipf(s.secrets)
	if err := s.memory(many); err != nil {
		return err
	}
	if err := s.listing(); err != nil {
		return err
	}
	// What is read often comes into memory before it is measured.
	popular := s.many.anyOf(func(r *rand.Rand) int { return pick(cumulative, r) })
	if _, err := readMany(many, warmReads, popular); err != nil {
		return err
	}
	few := s.few.anyOf(func(r *rand.Rand) int { return r.IntN(fewSecrets) })
	if err := s.compare("zipf", few, popular); err != nil {
		return err
	}
	if err := s.compare("uniform", few, s.many.anyOf(func(r *rand.Rand) int { return r.IntN(s.secrets) })); err != nil {
		return err
	}
	var figures []figure
	for _, name := range slices.Sorted(maps.Keys(s.seen)) {
		f := s.median(name)
		figures = append(figures, f)
		fmt.Printf("%-28s %9.0f/s %7.1f us CPU %8.0f us p50\n", name, f.PerSecond, f.CPUPerRequest, f.P50)
	}
	rate := func(of string) float64 { return s.rate("many, "+of, "few, beside "+of) }
	cpu := func(of string) float64 { return s.cpu("many, "+of, "few, beside "+of) }
	return s.judge([]bound{
		{Name: fmt.Sprintf("ready with %d secrets, in seconds", s.secrets), Ratio: s.ready.Seconds(), Max: mostReady.Seconds()},
		{Name: fmt.Sprintf("MiB resident behind %d random reads", randomReads), Ratio: s.resident, Max: mostResident},
		{Name: "zipf: requests per second of few secrets", Ratio: rate("zipf"), Min: leastZipf},
		{Name: "uniform: requests per second of few secrets", Ratio: rate("uniform"), Min: leastUniform},
		{Name: "zipf: CPU of few secrets", Ratio: cpu("zipf")},
		{Name: "uniform: CPU of few secrets", Ratio: cpu("uniform")},
		{Name: "first page of a listing, median in ms", Ratio: float64(s.firstPage.Microseconds()) / 1000, Max: float64(mostFirstPage.Milliseconds())},
	}, figures)
}

// compare measures both servers in turn. One distribution is done before the next begins: each has its own part of the secrets in memory.
func (s *scale) compare(distribution string, few, many source) error {
	measure := s.https(s.many.target(), scaleConnections, many)
	s.groups = nil
	s.beside(1, []measured{
		{"few, beside " + distribution, s.https(s.few.target(), scaleConnections, few)},
		{"many, " + distribution, func(d time.Duration) (figure, error) {
			// Reads that were first ones have work to do behind them, which is not that of those that are measured.
			if err := s.many.level(); err != nil {
				return figure{}, err
			}
			return measure(d)
		}},
	})
	return s.runRounds()
}

// level waits until the ledger has taken in what was read.
func (p *product) level() error {
	for range 600 {
		res, err := p.client.Get(p.env["KEYWRIGHT_METRICS_URL"])
		if err != nil {
			return err
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte("\nkeywright_ledger_lag_records 0\n")) {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return errors.New("the ledger did not get level within two minutes")
}

// memory reads at random and looks at what the server takes then.
func (s *scale) memory(t *target) (err error) {
	s.resident, err = readMany(t, randomReads, s.many.anyOf(func(r *rand.Rand) int { return r.IntN(s.secrets) }))
	return err
}

// readMany sends so many reads, and returns what the server takes of memory behind them, in MiB.
func readMany(t *target, reads int64, next source) (float64, error) {
	f := &flow{target: t, next: next}
	if err := f.start(scaleConnections); err != nil {
		return 0, err
	}
	for f.sent.Load() < reads+scaleConnections {
		time.Sleep(10 * time.Millisecond)
	}
	memory, err := resident(t.pid)
	f.end()
	if n := f.seen.failed + f.seen.refused; n > 0 {
		err = errors.Join(err, fmt.Errorf("%d reads failed, the last with: %w", n, f.seen.last))
	}
	return memory, err
}

// listing asks for the first page again and again.
func (s *scale) listing() error {
	c, err := dial(s.many.target())
	if err != nil {
		return err
	}
	defer c.Close()
	request := s.many.request("GET", 0, "", "")
	var took []time.Duration
	for range listings {
		began := time.Now()
		if err := c.roundTrip(request); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	s.firstPage = took[len(took)/2]
	fmt.Fprintf(os.Stderr, "first page of a listing: p50 %s, p99 %s\n", s.firstPage, took[len(took)*99/100])
	return nil
}

// nameOf is that of a secret by its number; all have the same length.
func nameOf(n int) string { return fmt.Sprintf("secret-%07d", n) }

// anyOf sends reads of secrets by their numbers. Each connection has one request, in which it changes the name.
func (p *product) anyOf(choose func(*rand.Rand) int) source {
	type reader struct {
		request []byte
		at      int
		random  *rand.Rand
	}
	readers := make([]reader, scaleConnections)
	for i := range readers {
		request := p.get(0, nameOf(0))
		readers[i] = reader{request, bytes.Index(request, []byte(nameOf(0))) + len("secret-"), rand.New(rand.NewPCG(uint64(i), rand.Uint64()))}
	}
	return func(c, _ int) []byte {
		r := &readers[c]
		number := choose(r.random)
		for i := 6; i >= 0; i-- {
			r.request[r.at+i] = byte('0' + number%10)
			number /= 10
		}
		return r.request
	}
}

// zipf is the cumulative distribution of Zipf's law with the exponent 1: the second most popular is read half as often as the first.
func zipf(n int) []float64 {
	sums := make([]float64, n)
	sum := 0.0
	for i := range sums {
		sum += 1 / float64(i+1)
		sums[i] = sum
	}
	return sums
}

// pick draws by a cumulative distribution. Popular ones are spread over all.
func pick(sums []float64, r *rand.Rand) int {
	rank := sort.SearchFloat64s(sums, r.Float64()*sums[len(sums)-1])
	return int(uint64(rank) * 7919 % uint64(len(sums)))
}

// resident is the memory of a process in MiB (VmRSS of proc(5)).
func resident(pid int) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(text, "kB")))
			return float64(kib) / 1024, err
		}
	}
	return 0, errors.New("the kernel does not tell how much memory a process takes")
}

// roomFor refuses to fill a disk.
func roomFor(dir string, bytes int64) error {
	free, err := freeBytes(dir)
	if err == nil && free < bytes {
		err = fmt.Errorf("%s has %d MiB free: %d are needed", dir, free>>20, bytes>>20)
	}
	return err
}
