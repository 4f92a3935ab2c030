package ledger

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var t0 = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

const (
	v1 = vault.VersionID("00000000000000000000000000000001")
	v2 = vault.VersionID("00000000000000000000000000000002")
	v3 = vault.VersionID("00000000000000000000000000000003")
)

// at is an instant by its second after t0; 0 is the zero instant.
func at(s int) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return t0.Add(time.Duration(s) * time.Second)
}

// row makes a row of a consumer, strong unless its instance is an address.
func row(v vault.VersionID, instance string, first, last int, edit ...func(*Holding)) *Holding {
	h := &Holding{}
	h.HoldingKey = store.HoldingKey{Vault: "v", Kind: vault.Secret, NameKey: "n", Version: v, Principal: "p", Instance: instance}
	h.Weak, h.First, h.Last = strings.HasPrefix(instance, byAddress), at(first), at(last)
	for _, e := range edit {
		e(h)
	}
	return h
}

func used(s int) func(*Holding)   { return func(h *Holding) { h.Used, h.Loaded = at(s), at(s) } }
func loaded(s int) func(*Holding) { return func(h *Holding) { h.Loaded = at(s) } }
func polls(every, s int) func(*Holding) {
	return func(h *Holding) { h.Poll, h.PollAt = time.Duration(every)*time.Second, at(s) }
}
func seen(s, login int) func(*Holding) {
	return func(h *Holding) { h.Seen, h.Login = at(s), at(login) }
}
func cleared(s int) func(*Holding) {
	return func(h *Holding) { h.Cleared, h.By, h.Why = at(s), "ada", "switched off" }
}
func targetRow(t Target) *Holding {
	h := row(v1, "", 0, 0)
	h.Principal, h.Target = "", &t
	return h
}

func TestJudge(t *testing.T) {
	known := Policy{Poll: 10 * time.Second, MaxConnectionLife: time.Minute, Grace: 30 * time.Second, Window: 20 * time.Second}
	cases := []struct {
		name   string
		policy Policy
		now    int
		whole  int
		up     int
		rows   []*Holding
		state  State // of the first holder
		safe   bool
		reason string // part of the holder's reason, or of the verdict's when there is no holder
	}{
		{name: "nobody ever read it", now: 200, safe: true},
		{name: "grace lasts", now: 129, reason: "grace after the promotion"},
		{name: "grace is over", now: 130, safe: true},
		{name: "grace again after a power loss", now: 199, whole: 170, reason: "a power loss"},
		{name: "and over", now: 200, whole: 170, safe: true},
		{name: "it acknowledged", now: 200, rows: []*Holding{row(v1, "a", 1, 50), row(v2, "a", 101, 150, used(102))}, state: Moved, safe: true, reason: "acknowledged"},
		{name: "it acknowledged a later one", now: 200, rows: []*Holding{row(v1, "a", 1, 50), row(v3, "a", 110, 150, used(112))}, state: Moved, safe: true},
		{name: "it used one and read the next", now: 200, rows: []*Holding{row(v1, "a", 1, 50), row(v2, "a", 101, 105, used(102)), row(v3, "a", 190, 195)}, state: Moved, safe: true},
		{name: "loaded is not used", now: 150, rows: []*Holding{row(v1, "a", 1, 50), row(v2, "a", 101, 150, loaded(102))}, state: Live, reason: "loaded"},
		{name: "an acknowledgement of what it was never given", now: 150, rows: []*Holding{row(v1, "a", 1, 100), row(v2, "a", 0, 0, used(102))}, state: Live},
		{name: "it read the old one after the acknowledgement", now: 130, rows: []*Holding{row(v1, "a", 1, 110), row(v2, "a", 101, 105, used(102))}, state: Live},
		{name: "it signed in with the old one after the acknowledgement", now: 115, rows: []*Holding{row(v1, "a", 1, 50, seen(110, 108)), row(v2, "a", 101, 112, used(102))}, state: Live},
		{name: "its session from before is gone", now: 200, rows: []*Holding{row(v1, "a", 1, 50, seen(110, 40)), row(v2, "a", 101, 112, used(102))}, state: Moved, safe: true},
		{name: "its session from before is open", now: 135, rows: []*Holding{row(v1, "a", 1, 50, seen(134, 40)), row(v2, "a", 101, 112, used(102)),
			targetRow(Target{Sampled: at(134), Open: 1, Samples: 3, Used: at(134)})}, state: Live, reason: "shows a session"},
		{name: "what is delivered before the promotion is no proof, but for the new one", now: 300, rows: []*Holding{row(v1, "a", 1, 50), row(v3, "a", 60, 70, used(80))}, state: Silent},
		{name: "a canary read the new one before the promotion", now: 300, rows: []*Holding{row(v1, "a", 1, 50), row(v2, "a", 60, 290, used(80))}, state: Moved, safe: true},
		{name: "it read the new one, not long ago", now: 170, rows: []*Holding{row(v1, "a", 1, 50), row(v2, "a", 101, 165)}, state: Live},
		{name: "it read the new one, long ago", now: 171, rows: []*Holding{row(v1, "a", 1, 50), row(v2, "a", 101, 165)}, state: Moved, safe: true, reason: "outlived"},
		{name: "it read both in turns", now: 500, rows: []*Holding{row(v1, "a", 1, 400), row(v2, "a", 101, 450)}, state: Live},
		{name: "nobody said how long connections live", policy: Policy{Poll: 10 * time.Second}, now: 100_000, rows: []*Holding{row(v1, "a", 1, 50), row(v2, "a", 101, 165)}, state: Silent},
		{name: "two behind one address, one of which moved", now: 100_000, rows: []*Holding{row(v1, "@10.0.0.1", 1, 50), row(v2, "@10.0.0.1", 101, 99_999, used(102))}, state: Live, reason: "several processes"},
		{name: "it read once at its start", now: 100_000, rows: []*Holding{row(v1, "a", 1, 1)}, state: Silent, reason: "nothing proves"},
		{name: "three missed polls", now: 500, rows: []*Holding{row(v1, "a", 1, 300, polls(10, 2))}, state: Gone, safe: true, reason: "declared"},
		{name: "two missed polls, and what the store may not know", now: 389, rows: []*Holding{row(v1, "a", 1, 300, polls(10, 2))}, state: Live},
		{name: "a poll that was declared later counts", now: 500, rows: []*Holding{row(v1, "a", 1, 300, polls(10, 2)), row(v2, "a", 301, 301, polls(600, 301))}, state: Live},
		{name: "three missed polls, but the server was away", now: 500, up: 411, rows: []*Holding{row(v1, "a", 1, 300, polls(10, 2))}, state: Silent},
		{name: "three missed polls since the server is back", now: 500, up: 409, rows: []*Holding{row(v1, "a", 1, 300, polls(10, 2))}, state: Gone, safe: true},
		{name: "what weak ones declare counts for nothing", now: 500, rows: []*Holding{row(v1, "@10.0.0.1", 1, 300, polls(10, 2))}, state: Silent},
		{name: "cleared", now: 300, rows: []*Holding{row(v1, "a", 1, 100, cleared(200))}, state: Gone, safe: true, reason: "switched off"},
		{name: "cleared, and back", now: 300, rows: []*Holding{row(v1, "a", 1, 250, cleared(200))}, state: Live},
		{name: "cleared, and seen since", now: 300, rows: []*Holding{row(v1, "a", 1, 100, cleared(200), seen(250, 0))}, state: Live},
		{name: "the target has shown nobody", now: 300, rows: []*Holding{row(v1, "@10.0.0.1", 1, 100), targetRow(Target{Sampled: at(299), Clean: at(150), Samples: 9})}, state: Gone, safe: true},
		{name: "not for long enough since it read", now: 300, rows: []*Holding{row(v1, "@10.0.0.1", 1, 200), targetRow(Target{Sampled: at(299), Clean: at(150), Samples: 9})}, state: Silent},
		{name: "not for long enough since a session", now: 300, rows: []*Holding{row(v1, "@10.0.0.1", 1, 100, seen(240, 0)), targetRow(Target{Sampled: at(299), Clean: at(241), Samples: 9})}, state: Live},
		{name: "the last look is old", now: 700, rows: []*Holding{row(v1, "@10.0.0.1", 1, 100), targetRow(Target{Sampled: at(299), Clean: at(150), Samples: 9})}, state: Silent},
		{name: "a session of nobody known", now: 300, rows: []*Holding{targetRow(Target{Sampled: at(299), Open: 1, Samples: 9}), func() *Holding {
			h := row(v1, "@10.0.0.9", 0, 0, seen(299, 0))
			h.Principal = ""
			return h
		}()}, state: Live, reason: "shows a session"},
		{name: "moved, but the target shows a session", now: 300, rows: []*Holding{row(v1, "a", 1, 50), row(v2, "a", 101, 150, used(102)), targetRow(Target{Sampled: at(299), Open: 2, Samples: 9})}, state: Moved},
		{name: "moved, but the window is short", now: 300, rows: []*Holding{row(v1, "a", 1, 50), row(v2, "a", 101, 150, used(102)), targetRow(Target{Sampled: at(299), Clean: at(280), Samples: 9})}, state: Moved},
		{name: "moved, and the target agrees", now: 300, rows: []*Holding{row(v1, "a", 1, 50), row(v2, "a", 101, 150, used(102)), targetRow(Target{Sampled: at(299), Clean: at(279), Samples: 9})}, state: Moved, safe: true},
		{name: "the target could tell and was not asked", policy: Policy{Observed: true}, now: 300, reason: "not been looked at"},
		{name: "a sealed backup is no consumer", now: 200, rows: []*Holding{row("", "@10.0.0.1", 1, 199)}, safe: true},
		{name: "a pushed file is", now: 200, rows: []*Holding{row(v1, ">host:/etc/app", 1, 50)}, state: Silent},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.policy == (Policy{}) {
				c.policy = known
			}
			q := Question{Policy: c.policy, Old: v1, New: v2, Since: at(100), Whole: at(c.whole), Up: at(c.up), Now: at(c.now), Holdings: c.rows}
			v := Judge(&q)
			if v.Safe != c.safe {
				t.Errorf("safe is %t: %s", v.Safe, v.Reason)
			}
			if c.state == "" {
				if len(v.Holders) > 0 || !strings.Contains(v.Reason, c.reason) {
					t.Errorf("%d holders, %q", len(v.Holders), v.Reason)
				}
				return
			}
			if len(v.Holders) != 1 || v.Holders[0].State != c.state || !strings.Contains(v.Holders[0].Reason, c.reason) {
				t.Fatalf("holders %+v, want one that is %s", v.Holders, c.state)
			}
			if waits := c.state == Live || c.state == Silent; waits != (len(v.WaitingFor) == 1) {
				t.Errorf("%d consumers are waited for", len(v.WaitingFor))
			}
		})
	}
}

func TestNoQuestionIsNoYes(t *testing.T) {
	for _, q := range []Question{{}, {Old: v1, Since: t0, Now: at(9)}, {Old: v1, New: v1, Since: t0, Now: at(9)}, {Old: v1, New: v2, Now: at(9)}, {Old: v1, New: v2, Since: at(10), Now: at(9)}} {
		if v := Judge(&q); v.Safe {
			t.Errorf("%+v is safe", q)
		}
	}
}

// drawQuestion draws rows of a few consumers without regard to whether they make sense.
func drawQuestion(t *rapid.T) Question {
	second := rapid.IntRange(0, 400)
	span := rapid.IntRange(0, 60)
	q := Question{Old: v1, New: v2, Since: at(rapid.IntRange(1, 300).Draw(t, "since")), Whole: at(second.Draw(t, "whole")), Now: at(400),
		Policy: Policy{Poll: time.Duration(span.Draw(t, "poll")) * time.Second, MaxConnectionLife: time.Duration(span.Draw(t, "life")) * time.Second,
			Grace: time.Duration(span.Draw(t, "grace")) * time.Second, Window: time.Duration(span.Draw(t, "window")) * time.Second, Observed: rapid.Bool().Draw(t, "observed")}}
	for _, instance := range []string{"a", "b", "@10.0.0.1"} {
		for _, v := range []vault.VersionID{v1, v2, v3} {
			if !rapid.Bool().Draw(t, "has") {
				continue
			}
			first := second.Draw(t, "first")
			last := 0
			if first > 0 {
				last = rapid.IntRange(first, 400).Draw(t, "last")
			}
			h := row(v, instance, first, last, loaded(second.Draw(t, "loaded")), seen(second.Draw(t, "seen"), second.Draw(t, "login")))
			if rapid.Bool().Draw(t, "used") {
				h.Used = at(second.Draw(t, "usedAt"))
			}
			if rapid.Bool().Draw(t, "cleared") {
				cleared(second.Draw(t, "clearedAt"))(h)
			}
			if rapid.Bool().Draw(t, "polls") {
				polls(rapid.IntRange(1, 60).Draw(t, "every"), second.Draw(t, "pollAt"))(h)
			}
			q.Holdings = append(q.Holdings, h)
		}
	}
	if rapid.Bool().Draw(t, "target") {
		q.Holdings = append(q.Holdings, targetRow(Target{Sampled: at(rapid.IntRange(1, 400).Draw(t, "sampled")), Open: rapid.IntRange(0, 1).Draw(t, "open"),
			Clean: at(second.Draw(t, "clean")), Samples: 5}))
	}
	return q
}

func without(q Question, i int) Question {
	q.Holdings = slices.Delete(slices.Clone(q.Holdings), i, i+1)
	return q
}

// TestDoubtIsNeverSafe: more holders, fresher deliveries and less evidence never make a version safer, whatever the facts.
func TestDoubtIsNeverSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawQuestion(t)
		v := Judge(&q)
		if v.Safe != (v.Safe && len(v.WaitingFor) == 0) {
			t.Fatalf("safe, and %d are waited for", len(v.WaitingFor))
		}
		if v.Safe && (q.Now.Before(q.Since.Add(q.Grace)) || q.Observed && !slices.ContainsFunc(q.Holdings, func(h *Holding) bool { return h.Target != nil })) {
			t.Fatal("safe within the grace, or without the evidence that was asked for")
		}
		for i, h := range q.Holdings {
			edit := func(what string, change func(*Holding)) {
				c := *h
				change(&c)
				other := q
				other.Holdings = slices.Clone(q.Holdings)
				other.Holdings[i] = &c
				if w := Judge(&other); w.Safe && !v.Safe {
					t.Fatalf("%s made it safe:\n%+v\n%s", what, c, v.Reason)
				}
			}
			switch {
			case h.Target != nil:
				edit("a session", func(h *Holding) { h.Target = h.Target.sample(q.Now, 1) })
			case h.Version == v1:
				edit("a delivery of the old version", func(h *Holding) {
					if h.First.IsZero() {
						h.First = q.Now
					}
					h.Last = q.Now
				})
				edit("a session of the old version", func(h *Holding) { h.Seen, h.Login = q.Now, q.Now })
				edit("forgetting that it was cleared", func(h *Holding) { h.Cleared = time.Time{} })
				edit("weakness", func(h *Holding) { h.Weak = true })
			default:
				// Whatever is forgotten of a consumer that polls is a sign of life that was not heard.
				if slices.ContainsFunc(q.Holdings, func(o *Holding) bool { return o.Instance == h.Instance && o.Poll > 0 }) {
					continue
				}
				edit("forgetting an acknowledgement", func(h *Holding) { h.Used = time.Time{} })
				if other := without(q, i); Judge(&other).Safe && !v.Safe {
					t.Fatalf("forgetting a delivery of %s made it safe", h.Version)
				}
			}
		}
		extra := q
		extra.Holdings = append(slices.Clone(q.Holdings), row(v1, "z", 1, 400))
		if Judge(&extra).Safe {
			t.Fatal("somebody who reads the old version now is no obstacle")
		}
	})
}

// process is what a consumer really does, which the ledger only sees in part.
type process struct {
	weak           bool
	instance       string
	poll           int // seconds between reads; 0 reads once
	life           int // of a connection, which is opened anew at once
	declares, acks bool
	ends           int // when it dies

	holds   vault.VersionID // what it would sign in with next
	readAt  int
	conn    vault.VersionID // what its connection was opened with
	connAt  int
	ackDue  bool
	started int
	alive   bool
}

// TestSafeIsTrue lets processes live and asks the judge every second: when it says that the old version may go, no process that is alive would sign in with
// it, and none is connected by it. The processes keep what the policy and they themselves say, and nothing else.
func TestSafeIsTrue(t *testing.T) {
	safeAtAll := 0
	rapid.Check(t, func(t *rapid.T) {
		const end, promoted, poll, life = 600, 100, 7, 40
		observes := rapid.Bool().Draw(t, "observes")
		policy := Policy{Poll: poll * time.Second, MaxConnectionLife: life * time.Second, Grace: time.Duration(rapid.IntRange(0, 50).Draw(t, "grace")) * time.Second,
			Window: time.Duration(rapid.IntRange(0, 30).Draw(t, "window")) * time.Second, Observed: observes}
		var all []*process
		for i := range rapid.IntRange(1, 4).Draw(t, "processes") {
			p := &process{weak: rapid.Bool().Draw(t, "weak"), instance: fmt.Sprint("i", i), life: rapid.IntRange(2, life).Draw(t, "life"),
				poll: rapid.SampledFrom([]int{0, 1, 3, poll}).Draw(t, "poll"), acks: rapid.Bool().Draw(t, "acks"),
				ends: rapid.SampledFrom([]int{50, 150, end + 1, end + 1}).Draw(t, "ends"), started: rapid.IntRange(1, 90).Draw(t, "started")}
			p.declares = p.poll > 0 && rapid.Bool().Draw(t, "declares")
			if p.weak {
				p.instance = "@10.0.0.1" // all behind one address
			}
			all = append(all, p)
		}
		rows := map[store.HoldingKey]*Holding{}
		fact := func(h *Holding) {
			if known := rows[h.HoldingKey]; known != nil {
				known.join(h)
			} else {
				rows[h.HoldingKey] = h
			}
		}
		var target *Target
		for now := 1; now <= end; now++ {
			current := v1
			if now >= promoted {
				current = v2
			}
			for _, p := range all {
				p.alive = now >= p.started && now < p.ends
				if !p.alive {
					p.conn = ""
					continue
				}
				if p.ackDue && p.conn == p.holds {
					f := row(p.holds, p.instance, 0, 0)
					f.Loaded, f.Used = at(now), at(now)
					if p.declares {
						polls(p.poll, now)(f)
					}
					fact(f)
					p.ackDue = false
				}
				if now == p.started || p.poll > 0 && now-p.readAt >= p.poll {
					p.ackDue = p.ackDue || p.acks && p.holds != current
					p.holds, p.readAt = current, now
					fact(row(current, p.instance, now, now))
				}
				// A connection lives as long as it may. Who acknowledges opens the next one with the new value first.
				if p.conn == "" || now-p.connAt >= p.life || p.ackDue && p.conn != p.holds {
					p.conn, p.connAt = p.holds, now
				}
			}
			if observes && now%2 == 0 {
				open := 0
				for _, p := range all {
					if p.alive && p.conn == v1 {
						open++
					}
				}
				target = target.sample(at(now), open)
			}
			if now < promoted {
				continue
			}
			q := Question{Policy: policy, Old: v1, New: v2, Since: at(promoted), Now: at(now)}
			for _, h := range rows {
				q.Holdings = append(q.Holdings, h)
			}
			if target != nil {
				q.Holdings = append(q.Holdings, targetRow(*target))
			}
			v := Judge(&q)
			if !v.Safe {
				continue
			}
			safeAtAll++
			for i, p := range all {
				if p.alive && (p.holds == v1 || p.conn == v1) {
					t.Fatalf("second %d: the version may go (%s), and process %d still uses it: %+v", now, v.Reason, i, p)
				}
			}
		}
	})
	if safeAtAll == 0 {
		t.Error("nothing was ever safe: the test proves nothing")
	}
}

func TestTargetSamples(t *testing.T) {
	var s *Target
	for _, step := range []struct {
		at, open int
		clean    int
	}{{10, 1, 0}, {20, 0, 20}, {30, 0, 20}, {25, 1, 20}, {40, 2, 0}, {50, 0, 50}, {50 + 301, 0, 351}, {351 + 300, 0, 351}} {
		s = s.sample(at(step.at), step.open)
		if !s.Clean.Equal(at(step.clean)) {
			t.Errorf("after the look at %d it is clean since %v, want %v", step.at, s.Clean, at(step.clean))
		}
	}
	if s.Samples != 7 || !s.Used.Equal(at(40)) {
		t.Errorf("%+v", s)
	}
}

func TestInstance(t *testing.T) {
	a := netip.MustParseAddr("::ffff:10.0.0.1")
	const vm, shared = "/subscriptions/S/providers/Microsoft.Compute/virtualMachines/VM", "/subscriptions/s/providers/Microsoft.ManagedIdentity/userAssignedIdentities/x"
	for _, c := range []struct {
		declared, resource, want string
		weak                     bool
	}{
		{"pod-7", vm, "pod-7", false}, {"", vm, strings.ToLower(vm), false}, {"", shared, "@10.0.0.1", true}, {"", "", "@10.0.0.1", true},
		{"@10.0.0.2", "", "@10.0.0.1", true}, {"/x", vm, strings.ToLower(vm), false}, {">file", "", "@10.0.0.1", true}, {"\xff", "", "\ufffd", false},
	} {
		if got, weak := Instance(c.declared, c.resource, a); got != c.want || weak != c.weak {
			t.Errorf("Instance(%q, %q) = %q, %t; want %q, %t", c.declared, c.resource, got, weak, c.want, c.weak)
		}
	}
	if got, weak := Instance("", "", netip.Addr{}); got != "@unknown" || !weak {
		t.Errorf("without an address it is %q, %t", got, weak)
	}
}

// drawRow draws a row of one key.
func drawRow(t *rapid.T) *Holding {
	second := rapid.IntRange(0, 9)
	h := row(v1, "a", second.Draw(t, "first"), second.Draw(t, "last"), loaded(second.Draw(t, "loaded")), seen(second.Draw(t, "seen"), second.Draw(t, "login")),
		polls(second.Draw(t, "poll"), second.Draw(t, "pollAt")))
	h.Used, h.Weak = at(second.Draw(t, "used")), rapid.Bool().Draw(t, "weak")
	h.Via = rapid.SampledFrom([][]string{nil, {"azure"}, {"native"}}).Draw(t, "via")
	h.Cleared, h.By, h.Why = at(second.Draw(t, "cleared")), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "by"), "w"
	h.Address, h.AddressAt = rapid.SampledFrom([]string{"1", "2"}).Draw(t, "address"), at(second.Draw(t, "addressAt"))
	h.Refused, h.Alarmed = at(second.Draw(t, "refused")), at(second.Draw(t, "alarmed"))
	return h
}

// TestJoin: whatever the order of facts, and however often one comes, the row is the same.
func TestJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawRow(t), drawRow(t), drawRow(t)
		join := func(list ...*Holding) string {
			h := *list[0]
			for _, o := range list[1:] {
				h.join(o)
			}
			r, err := h.row()
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%+v %s", *r, r.Doc)
		}
		want := join(a, b, c)
		for _, order := range [][]*Holding{{a, c, b}, {b, a, c}, {b, c, a}, {c, a, b}, {c, b, a}, {a, b, a, c, b, c, a}} {
			if got := join(order...); got != want {
				t.Fatalf("\n%s\n%s", got, want)
			}
		}
	})
}

// Who is signed in at the target is named first, then who took nothing newer; who took a newer version stands behind them, though it was heard of last.
func TestWhoBreaksForSureIsNamedFirst(t *testing.T) {
	q := Question{Old: v1, New: v2, Since: at(100), Now: at(200), Holdings: []*Holding{
		row(v1, "@10.0.0.1", 1, 99), row(v2, "@10.0.0.1", 101, 199),
		row(v1, "@10.0.0.2", 1, 50),
		row(v1, "@10.0.0.3", 1, 99, seen(190, 20)), row(v2, "@10.0.0.3", 101, 199),
		row(v1, "gone", 1, 99, cleared(150)),
		targetRow(Target{Sampled: at(190), Open: 1, Samples: 9, Used: at(190)}),
	}}
	v := Judge(&q)
	var order []string
	for _, h := range v.Holders {
		order = append(order, h.Instance)
	}
	if want := []string{"@10.0.0.3", "@10.0.0.2", "@10.0.0.1", "gone"}; !slices.Equal(order, want) {
		t.Errorf("the holders stand as %q, want %q", order, want)
	}
	if !strings.Contains(v.Reason, "@10.0.0.3: the target shows a session") {
		t.Errorf("the sentence names another one first: %s", v.Reason)
	}
}
