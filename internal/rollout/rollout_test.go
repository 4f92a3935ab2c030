package rollout

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

const (
	candidate vault.VersionID = "candidate"
	base      vault.VersionID = "base"
)

func n(i int) *int { return &i }

func made(t testing.TB, back ReturnRules, rings ...Ring) Rollout {
	t.Helper()
	r, err := New(candidate, base, rings, back)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// opened returns the rollout with so many rings open since noon.
func opened(r Rollout, rings int) Rollout {
	r.State, r.Opened, r.Began, r.Changed = Open, rings, noon, noon
	return r
}

func TestResolve(t *testing.T) {
	r := made(t, ReturnRules{},
		Ring{Name: "canary", Principals: []principal.ID{"zoe", "ada"}},
		Ring{Name: "team", Groups: []principal.ID{"testers"}},
		Ring{Name: "vienna", Regions: []string{"vienna"}},
		Ring{Name: "half of paris", Regions: []string{"paris"}, Percent: 100},
	)
	for _, c := range []struct {
		name string
		who  Consumer
		ring int
	}{
		{"by name", Consumer{Principal: "ada"}, 0},
		{"by another name", Consumer{Principal: "zoe", Region: "vienna"}, 0},
		{"by group", Consumer{Principal: "bob", Groups: []principal.ID{"all", "testers"}}, 1},
		{"by region", Consumer{Principal: "bob", Region: "vienna"}, 2},
		{"by region and percentage", Consumer{Principal: "bob", Region: "paris"}, 3},
		{"not at all", Consumer{Principal: "bob"}, -1},
		{"in another region", Consumer{Principal: "bob", Region: "rome", Groups: []principal.ID{"all"}}, -1},
	} {
		if got := r.RingOf(&c.who); got != c.ring {
			t.Errorf("%s: ring %d, want %d", c.name, got, c.ring)
		}
		for rings := range len(r.Rings) + 1 {
			open, want := opened(r, rings), base
			if c.ring >= 0 && c.ring < rings {
				want = candidate
			}
			if got := open.Resolve(&c.who); got != want {
				t.Errorf("%s with %d rings open: %s, want %s", c.name, rings, got, want)
			}
		}
		for state, want := range map[State]vault.VersionID{Waiting: base, Returned: base, Finished: candidate, "": base} {
			ended := opened(r, 4)
			ended.State = state
			if got := ended.Resolve(&c.who); got != want {
				t.Errorf("%s when the rollout is %s: %s, want %s", c.name, state, got, want)
			}
		}
	}
}

func TestPercentages(t *testing.T) {
	r := opened(made(t, ReturnRules{}, Ring{Name: "few", Percent: 5}, Ring{Name: "some", Percent: 30}), 2)
	counts := make(map[int]int)
	for i := range 20000 {
		counts[r.RingOf(&Consumer{Principal: "p", Instance: fmt.Sprintf("pod-%d", i)})]++
	}
	if few, some := counts[0], counts[1]; few < 850 || few > 1150 || some < 4700 || some > 5300 {
		t.Errorf("of 20000 instances %d are in the ring of 5%%, and %d more in that of 30%%", few, some)
	}
	// The instances of another rollout are not the same first ones.
	other := r
	other.Candidate = "another"
	both := 0
	for i := range 20000 {
		c := &Consumer{Principal: "p", Instance: fmt.Sprintf("pod-%d", i)}
		if r.RingOf(c) == 0 && other.RingOf(c) == 0 {
			both++
		}
	}
	if both > 120 {
		t.Errorf("%d of 20000 instances are in the first 5%% of two rollouts, want about 50", both)
	}
}

// A weak instance is an address: the principal must not change sides with it.
func TestWeakInstancesCountAsOne(t *testing.T) {
	r := opened(made(t, ReturnRules{}, Ring{Name: "half", Percent: 50}), 1)
	seen := make(map[vault.VersionID]bool)
	for p := range 50 {
		who := Consumer{Principal: principal.ID(fmt.Sprint(p)), Weak: true}
		first := r.Resolve(&who)
		seen[first] = true
		for i := range 20 {
			who.Instance = fmt.Sprintf("10.0.0.%d", i)
			if r.Resolve(&who) != first {
				t.Fatalf("the principal %d gets another version from another address", p)
			}
		}
	}
	if len(seen) != 2 {
		t.Error("half of the principals are all or none")
	}
}

func TestRolloutsThatAreWrong(t *testing.T) {
	ok := Ring{Name: "all", Percent: 100}
	for about, c := range map[string]struct {
		candidate vault.VersionID
		rings     []Ring
		back      ReturnRules
	}{
		"needs a candidate":   {"", []Ring{ok}, ReturnRules{}},
		"not the version":     {base, []Ring{ok}, ReturnRules{}},
		"0 rings":             {candidate, nil, ReturnRules{}},
		"33 rings":            {candidate, make([]Ring, 33), ReturnRules{}},
		"no name":             {candidate, []Ring{{Percent: 5}}, ReturnRules{}},
		"selects nobody":      {candidate, []Ring{{Name: "x"}}, ReturnRules{}},
		"between 0 and 100":   {candidate, []Ring{{Name: "x", Percent: 101}}, ReturnRules{}},
		"more than 1000":      {candidate, []Ring{{Name: "x", Regions: manyNames()}}, ReturnRules{}},
		"negative number":     {candidate, []Ring{{Name: "x", Percent: 5, Gate: Gate{MaxFailures: n(-1)}}}, ReturnRules{}},
		"automatic return":    {candidate, []Ring{ok}, ReturnRules{Probes: -1}},
		"more than the whole": {candidate, []Ring{ok}, ReturnRules{FailurePermille: 1001}},
	} {
		if _, err := New(c.candidate, base, c.rings, c.back); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), about) {
			t.Errorf("%v, want an invalid that tells of %q", err, about)
		}
	}
}

func manyNames() (list []string) {
	for i := range MaxNames + 1 {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

func TestGates(t *testing.T) {
	good := Observations{Known: true, Consumers: 10, Used: 10, Target: true, Logins: 100, ProbedAt: noon.Add(time.Second), Approved: true}
	for _, c := range []struct {
		name string
		gate Gate
		// bad spoils the observations, which pass without it.
		bad func(*Observations)
		why string
	}{
		{"everyone used it", Gate{UsedPercent: 100}, func(o *Observations) { o.Used = 9 }, "9 of 10"},
		{"nobody counted", Gate{UsedPercent: 100}, func(o *Observations) { o.Known, o.Consumers, o.Used = false, 0, 0 }, "0 of 0"},
		{"a share used it", Gate{UsedPercent: 95}, func(o *Observations) { o.Consumers, o.Used = 100, 94 }, "94 of 100"},
		{"logins", Gate{MinLogins: 100}, func(o *Observations) { o.Logins = 99 }, "99 logins"},
		{"failures", Gate{MaxFailures: n(0)}, func(o *Observations) { o.Failures = 1 }, "1 logins"},
		{"the target is silent", Gate{MaxFailures: n(0)}, func(o *Observations) { o.Target = false }, "has not said"},
		{"a probe", Gate{Probe: true}, func(o *Observations) { o.ProbeFailures = 1 }, "health probe"},
		{"an old probe", Gate{Probe: true}, func(o *Observations) { o.ProbedAt = noon.Add(-time.Second) }, "health probe"},
		{"a person", Gate{Approval: true}, func(o *Observations) { o.Approved = false }, "approve"},
		{"another ring", Gate{Approval: true}, func(o *Observations) { o.Ring = 3 }, "observed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := opened(made(t, ReturnRules{}, Ring{Name: "one", Percent: 10, Gate: c.gate}, Ring{Name: "two", Percent: 100}), 1)
			after, decision, why := Next(r, good, noon.Add(time.Minute))
			if decision != OpenRing || after.Opened != 2 {
				t.Errorf("with good news: %s (%s)", decision, why)
			}
			o := good
			c.bad(&o)
			after, decision, why = Next(r, o, noon.Add(time.Minute))
			if decision != Hold || !reflect.DeepEqual(after, r) || !strings.Contains(why, c.why) {
				t.Errorf("%s (%s), want a hold that tells of %q", decision, why, c.why)
			}
		})
	}
}

func TestMinimumTimeStartsWithEachRing(t *testing.T) {
	gate := Gate{MinTime: 5 * time.Minute}
	r := made(t, ReturnRules{}, Ring{Name: "one", Percent: 10, Gate: gate}, Ring{Name: "two", Percent: 50, Gate: gate})
	for _, step := range []struct {
		minute int
		want   Decision
	}{{0, OpenRing}, {4, Hold}, {5, OpenRing}, {9, Hold}, {10, Finish}, {20, Hold}} {
		var got Decision
		var why string
		if r, got, why = Next(r, Observations{}, noon.Add(time.Duration(step.minute)*time.Minute)); got != step.want {
			t.Fatalf("after %d minutes: %s (%s), want %s", step.minute, got, why, step.want)
		}
	}
	if r.State != Finished || !r.Ended() {
		t.Errorf("the rollout is %s", r.State)
	}
}

func TestReturns(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules ReturnRules
		o     Observations
		after time.Duration
		why   string
	}{
		{"failures", ReturnRules{Failures: n(2)}, Observations{Target: true, Failures: 3}, 0, "3 logins"},
		{"a rate", ReturnRules{FailurePermille: 1}, Observations{Target: true, Logins: 998, Failures: 2}, 0, "2 of 1000"},
		{"probes", ReturnRules{Probes: 3}, Observations{ProbedAt: noon, ProbeFailures: 3}, 0, "3 health probes"},
		{"stuck", ReturnRules{Stuck: time.Hour}, Observations{}, time.Hour, "approve"},
		{"ordered", ReturnRules{}, Observations{ReturnBy: "Ada"}, 0, "Ada"},
	} {
		r := opened(made(t, c.rules, Ring{Name: "one", Percent: 10, Gate: Gate{Approval: true}}), 1)
		after, decision, why := Next(r, c.o, noon.Add(c.after))
		if decision != Return || after.State != Returned || !strings.Contains(why, c.why) {
			t.Errorf("%s: %s (%s), want a return", c.name, decision, why)
		}
	}
	for _, c := range []struct {
		name  string
		rules ReturnRules
		o     Observations
		after time.Duration
	}{
		{"few failures", ReturnRules{Failures: n(2)}, Observations{Target: true, Failures: 2}, 0},
		{"failures of another ring", ReturnRules{Failures: n(2)}, Observations{Ring: 7, Target: true, Failures: 3}, 0},
		{"too small a sample", ReturnRules{FailurePermille: 1}, Observations{Target: true, Logins: 50, Failures: 2}, 0},
		{"few probes", ReturnRules{Probes: 3}, Observations{ProbedAt: noon, ProbeFailures: 2}, 0},
		{"old probes", ReturnRules{Probes: 3}, Observations{ProbedAt: noon.Add(-1), ProbeFailures: 3}, 0},
		{"not stuck yet", ReturnRules{Stuck: time.Hour}, Observations{}, time.Hour - 1},
		{"no rules", ReturnRules{}, Observations{Target: true, Failures: 1000, ProbedAt: noon, ProbeFailures: 9}, 1000 * time.Hour},
	} {
		r := opened(made(t, c.rules, Ring{Name: "one", Percent: 10, Gate: Gate{Approval: true}}), 1)
		if _, decision, why := Next(r, c.o, noon.Add(c.after)); decision != Hold {
			t.Errorf("%s: %s (%s), want a hold", c.name, decision, why)
		}
	}
}

func drawGate(t *rapid.T) Gate {
	g := Gate{UsedPercent: rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "used"), MinLogins: rapid.SampledFrom([]int{0, 100}).Draw(t, "logins"),
		MinTime: rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "time"), Probe: rapid.Bool().Draw(t, "probe"),
		Approval: rapid.Bool().Draw(t, "approval")}
	if rapid.Bool().Draw(t, "failures matter") {
		g.MaxFailures = n(rapid.IntRange(0, 1).Draw(t, "max failures"))
	}
	return g
}

func drawRollout(t *rapid.T) Rollout {
	var rings []Ring
	for i := range rapid.IntRange(1, 4).Draw(t, "rings") {
		ring := Ring{Name: fmt.Sprint("ring ", i), Gate: drawGate(t), Percent: rapid.IntRange(0, 100).Draw(t, "percent")}
		if ring.Percent == 0 {
			ring.Groups = []principal.ID{"g1"}
		}
		if rapid.Bool().Draw(t, "regional") {
			ring.Regions = []string{"eu"}
		}
		rings = append(rings, ring)
	}
	back := ReturnRules{Probes: rapid.IntRange(0, 2).Draw(t, "probes"), Stuck: rapid.SampledFrom([]time.Duration{0, 10 * time.Minute}).Draw(t, "stuck")}
	if rapid.Bool().Draw(t, "failures return") {
		back.Failures = n(2)
	}
	r, err := New(candidate, base, rings, back)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func drawObservations(t *rapid.T, r *Rollout, now time.Time) Observations {
	o := Observations{Ring: r.Opened - 1, Known: rapid.Bool().Draw(t, "known"), Consumers: 10, Used: rapid.IntRange(0, 10).Draw(t, "used"),
		Target: rapid.Bool().Draw(t, "target"), Logins: rapid.SampledFrom([]int{0, 99, 100}).Draw(t, "logins"),
		Failures: rapid.IntRange(0, 3).Draw(t, "failures"), ProbeFailures: rapid.IntRange(0, 2).Draw(t, "probe failures"),
		ProbedAt: now.Add(-time.Duration(rapid.IntRange(0, 3).Draw(t, "probed")) * time.Minute), Approved: rapid.Bool().Draw(t, "approved")}
	if rapid.IntRange(0, 9).Draw(t, "stale") == 0 {
		o.Ring--
	}
	if rapid.IntRange(0, 19).Draw(t, "ordered") == 0 {
		o.ReturnBy = "somebody"
	}
	return o
}

// The model knows only the order: rings go up by one, ends are final, whoever got the candidate keeps it until a return, and a step
// forward needs every part of its gate.
func TestStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRollout(t)
		var crowd []*Consumer
		for i := range 30 {
			c := &Consumer{Principal: principal.ID(fmt.Sprint("p", i%7)), Instance: fmt.Sprint("i", i), Weak: i%3 == 0, Region: []string{"eu", "us", ""}[i%3]}
			if i%5 == 0 {
				c.Groups = []principal.ID{"g0", "g1"}
			}
			crowd = append(crowd, c)
		}
		got := make(map[*Consumer]bool)
		now := noon
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 180).Draw(t, "seconds")) * time.Second)
			o := drawObservations(t, &r, now)
			before := r
			next, decision, why := Next(r, o, now)
			if why == "" {
				t.Fatalf("%s without a reason", decision)
			}
			if again, d, _ := Next(before, o, now); d != decision || !reflect.DeepEqual(again, next) {
				t.Fatal("the same question has two answers")
			}
			checkStep(t, &before, &next, decision, &o, now)
			r = throughJSON(t, next)
			for _, c := range crowd {
				has := r.Resolve(c) == candidate
				if got[c] && !has && r.State != Returned {
					t.Fatalf("%+v lost the candidate by %s", c, decision)
				}
				if has && r.State == Open && r.RingOf(c) >= r.Opened {
					t.Fatalf("%+v has the candidate before its ring", c)
				}
				if r.State == Finished && !has || r.State == Returned && has {
					t.Fatalf("%+v has the wrong version after the end", c)
				}
				got[c] = has
			}
		}
	})
}

func checkStep(t *rapid.T, before, after *Rollout, d Decision, o *Observations, now time.Time) {
	switch {
	case before.Ended() && (d != Hold || !reflect.DeepEqual(before, after)):
		t.Fatalf("an ended rollout goes on: %s", d)
	case d == Hold && !reflect.DeepEqual(before, after):
		t.Fatal("a hold changed something")
	case !before.Ended() && o.ReturnBy != "" && d != Return:
		t.Fatalf("an ordered return was answered by %s", d)
	case d == OpenRing && (after.Opened != before.Opened+1 || after.State != Open || !after.Changed.Equal(now)):
		t.Fatalf("opening a ring led from %+v to %+v", before, after)
	case d == Finish && (before.Opened != len(before.Rings) || after.State != Finished):
		t.Fatal("it finished before its last ring")
	case d == Return && after.State != Returned:
		t.Fatal("it did not return")
	}
	if before.State == Open && (d == OpenRing || d == Finish) {
		g := before.Rings[before.Opened-1].Gate
		fresh := o.Ring == before.Opened-1
		ok := now.Sub(before.Changed) >= g.MinTime &&
			(!g.Probe || o.ProbeFailures == 0 && !o.ProbedAt.Before(before.Changed)) &&
			(!g.Approval || o.Approved && fresh) &&
			(g.MinLogins == 0 || o.Target && fresh && o.Logins >= g.MinLogins) &&
			(g.MaxFailures == nil || o.Target && fresh && o.Failures <= *g.MaxFailures) &&
			(g.UsedPercent == 0 || o.Known && fresh && o.Used*100 >= g.UsedPercent*o.Consumers)
		if !ok {
			t.Fatalf("the gate %+v let %+v pass", g, o)
		}
	}
}

func throughJSON(t *rapid.T, r Rollout) Rollout {
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var again Rollout
	if err := json.Unmarshal(b, &again); err != nil || !reflect.DeepEqual(again, r) {
		t.Fatalf("%+v became %+v (%v)", r, again, err)
	}
	return again
}

func worstCase(t testing.TB) (Rollout, Consumer) {
	var names []principal.ID
	for i := range MaxNames {
		names = append(names, principal.ID(vault.NewGUID()+fmt.Sprint(i)))
	}
	r := opened(made(t, ReturnRules{}, Ring{Name: "names", Principals: names}, Ring{Name: "groups", Groups: names}, Ring{Name: "most", Percent: 1, Regions: []string{"eu"}}), 3)
	c := Consumer{Principal: principal.ID(vault.NewGUID()), Instance: "shop-7d9c5b8f4-x2x9v", Region: "eu"}
	for range 20 {
		c.Groups = append(c.Groups, principal.ID(vault.NewGUID()))
	}
	return r, c
}

func TestResolveAllocatesNothing(t *testing.T) {
	r, c := worstCase(t)
	if got := testing.AllocsPerRun(100, func() { r.Resolve(&c) }); got != 0 {
		t.Errorf("Resolve makes %v allocations", got)
	}
}

func BenchmarkResolve(b *testing.B) {
	b.Run("percentage", func(b *testing.B) {
		r := opened(made(b, ReturnRules{}, Ring{Name: "some", Percent: 10}), 1)
		c := Consumer{Principal: principal.ID(vault.NewGUID()), Instance: "shop-7d9c5b8f4-x2x9v"}
		b.ReportAllocs()
		for b.Loop() {
			r.Resolve(&c)
		}
	})
	b.Run("worst", func(b *testing.B) {
		r, c := worstCase(b)
		b.ReportAllocs()
		for b.Loop() {
			r.Resolve(&c)
		}
	})
}
