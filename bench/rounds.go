package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

// readSlices is how many slices a round of requests is cut into. Neighbours on the machine come and go within seconds: what is compared is measured in turns that
// are shorter than that.
const readSlices = 3

// measurement measures for so long.
type measurement func(time.Duration) (figure, error)

// measured is a case and how it is measured.
type measured struct {
	name    string
	measure measurement
}

// group is what is compared with each other, and is therefore measured side by side.
type group struct {
	slices int
	cases  []measured
}

// bench is one run.
type bench struct {
	*options
	groups []group
	names  []string            // of the cases, as they were planned
	seen   map[string][]figure // one a round
}

func newBench(o *options) *bench { return &bench{options: o, seen: make(map[string][]figure)} }

// beside plans cases that are compared with each other. A round gives each of them the duration of a measurement, in so many slices.
func (b *bench) beside(slices int, cases []measured) {
	b.groups = append(b.groups, group{slices, cases})
	for _, c := range cases {
		b.names = append(b.names, c.name)
	}
}

// runRounds measures every case once per round, in a new order each time.
func (b *bench) runRounds() error {
	for round := range b.rounds {
		for _, i := range rand.Perm(len(b.groups)) {
			if err := b.measureGroup(&b.groups[i], round); err != nil {
				return err
			}
		}
	}
	return nil
}

// measureGroup gives each case of a group its slices of a round, in a new order in each slice.
func (b *bench) measureGroup(g *group, round int) error {
	parts := make([][]figure, len(g.cases))
	for range g.slices {
		for _, i := range rand.Perm(len(g.cases)) {
			f, err := g.cases[i].measure(b.duration / time.Duration(g.slices))
			if err != nil {
				return fmt.Errorf("%s: %w", g.cases[i].name, err)
			}
			parts[i] = append(parts[i], f)
		}
	}
	for i, c := range g.cases {
		f := average(c.name, parts[i])
		b.seen[c.name] = append(b.seen[c.name], f)
		fmt.Fprintf(os.Stderr, "round %d of %d: %-28s %9.0f/s %7.1f us CPU %8.0f us p50\n", round+1, b.rounds, f.Case, f.PerSecond, f.CPUPerRequest, f.P50)
	}
	return nil
}

func average(name string, parts []figure) figure {
	sum := figure{Case: name}
	n := float64(len(parts))
	for _, f := range parts {
		sum.PerSecond += f.PerSecond / n
		sum.CPUPerRequest += f.CPUPerRequest / n
		sum.P50 += f.P50 / n
	}
	return sum
}

func perSecond(f figure) float64     { return f.PerSecond }
func cpuPerRequest(f figure) float64 { return f.CPUPerRequest }
func p50(f figure) float64           { return f.P50 }

// median is a case at the median of its rounds.
func (b *bench) median(name string) figure {
	all := b.seen[name]
	of := func(part func(figure) float64) float64 {
		var values []float64
		for _, f := range all {
			values = append(values, part(f))
		}
		return median(values)
	}
	return figure{Case: name, PerSecond: of(perSecond), CPUPerRequest: of(cpuPerRequest), P50: of(p50)}
}

// ratio is the median of what each round gives for one case over another: they were measured side by side in it.
func (b *bench) ratio(part func(figure) float64, of, to string) float64 {
	var values []float64
	for round, f := range b.seen[of] {
		values = append(values, part(f)/part(b.seen[to][round]))
	}
	return median(values)
}

func (b *bench) rate(of, to string) float64 { return b.ratio(perSecond, of, to) }
func (b *bench) cpu(of, to string) float64  { return b.ratio(cpuPerRequest, of, to) }
func (b *bench) p50(of, to string) float64  { return b.ratio(p50, of, to) }

// median sorts the values.
func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
