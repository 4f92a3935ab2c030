package rotationtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/store"
)

// Points are all failpoints of the state machine, of both kinds of runs.
func Points() (list []rotation.Point) {
	for _, k := range []store.RunKind{store.RotationRun, store.RevocationRun} {
		for _, p := range rotation.Points(k) {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

// Run goes through the matrix of a subject and returns the points at which a process died. Those that no scenario comes by are the
// caller's to judge: see Unreached.
func Run(t *testing.T, s Subject, o Options) []rotation.Point {
	t.Helper()
	if s.SideBySide == 0 {
		s.SideBySide = 24
	}
	w := newWorld(t, &s)
	policy, _ := s.Make(t)
	var told []*scenario
	for i := range scenarios {
		if scenarios[i].fits(&s, &policy) {
			told = append(told, &scenarios[i])
		}
	}
	if len(told) == 0 {
		t.Fatalf("no scenario fits %s", s.Name)
	}
	choice := rand.New(rand.NewPCG(o.Seed, uint64(len(s.Name))))
	if rest := told[1:]; o.Stories > 0 && o.Stories < len(rest) {
		choice.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		told = told[:1+o.Stories]
	}
	passed := w.rehearse(t, told)
	var cases []*crash
	for _, p := range Points() {
		for i, sc := range told {
			if !passed[i][p] {
				continue
			}
			cases = append(cases, &crash{w: w, scenario: sc, point: p})
			if !o.Pairs {
				break
			}
		}
	}
	if o.Sample > 0 && o.Sample < len(cases) {
		choice.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
		rest := cases[o.Sample:]
		cases = cases[:o.Sample:o.Sample]
		for _, c := range cases {
			_ = o.Claim != nil && o.Claim(c.point)
		}
		for _, c := range rest {
			if o.Claim != nil && o.Claim(c.point) {
				cases = append(cases, c)
			}
		}
	}
	return w.crash(t, cases)
}

// rehearse tells every story without a crash, and returns what each came by.
func (w *world) rehearse(t *testing.T, told []*scenario) []map[rotation.Point]bool {
	passed := make([]map[rotation.Point]bool, len(told))
	w.together(len(told), func(i int) {
		c := w.start(&crash{w: w, scenario: told[i]})
		if err := c.play(); err != nil {
			t.Errorf("%s, without a crash: %v", told[i].name, err)
		}
		passed[i] = c.passed
	})
	return passed
}

func (w *world) start(c *crash) *crash {
	c.name = fmt.Sprintf("secret-%d", w.next.Add(1))
	c.passed = make(map[rotation.Point]bool)
	return c
}

// crash goes through the cases and returns the points at which a process died.
func (w *world) crash(t *testing.T, cases []*crash) (points []rotation.Point) {
	var mu sync.Mutex
	w.together(len(cases), func(i int) {
		c := cases[i]
		t.Run(strings.ReplaceAll(c.scenario.name+"/"+string(c.point), " ", "-"), func(t *testing.T) {
			// What is met by chance, such as a retry on a busy machine, may not be met again.
			for range 3 {
				c = w.start(&crash{w: w, scenario: c.scenario, point: c.point})
				if err := c.play(); err != nil {
					t.Fatal(err)
				}
				if c.dead() {
					mu.Lock()
					points = append(points, c.point)
					mu.Unlock()
					return
				}
			}
			t.Logf("nobody came by %s again", c.point)
		})
	})
	return points
}

// together runs n cases, some of them side by side.
func (w *world) together(n int, do func(int)) {
	room := make(chan struct{}, w.subject.SideBySide)
	var all sync.WaitGroup
	for i := range n {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			do(i)
		})
	}
	all.Wait()
}

// Unreached are the points of the state machine that are not among those.
func Unreached(reached ...rotation.Point) (list []rotation.Point) {
	for _, p := range Points() {
		if !slices.Contains(reached, p) {
			list = append(list, p)
		}
	}
	return list
}
