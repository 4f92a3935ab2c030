package admission

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
)

func control(t *testing.T, delays func() Delays) *Control {
	t.Helper()
	c, err := New(Config{Clock: clock.System{}, Procs: 1, MostWaiting: 100, Delays: delays})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func idle() Delays { return Delays{} }

// fill takes every place of a class for a tenant.
func fill(t *testing.T, c *Control, class Class, tenant string) (passes []*Pass) {
	t.Helper()
	for s := c.Stats(class); s.Running < s.Limit; s = c.Stats(class) {
		p, err := c.Enter(t.Context(), class, tenant)
		if err != nil {
			t.Fatal(err)
		}
		passes = append(passes, p)
	}
	return passes
}

func TestWhoWaitsIsLetInAsSoonAsThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := control(t, idle)
		passes := fill(t, c, Query, "a")
		began := time.Now()
		time.AfterFunc(time.Second, passes[0].Leave)
		p, err := c.Enter(t.Context(), Query, "a")
		if err != nil || time.Since(began) != time.Second {
			t.Errorf("let in after %s: %v", time.Since(began), err)
		}
		p.Leave()
		p.Leave() // a second time gives nothing back
		passes[0].Leave()
		if s := c.Stats(Query); s.Running != len(passes)-1 || s.Waiting != 0 || s.Refused != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Work that waits for nothing would run to its end before the next request is looked at: no limit would ever be reached, and reads would stand behind all of it.
func TestWhoIsLetInGivesWay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const requests = 50
	c := control(t, idle)
	var all sync.WaitGroup
	var ran, before atomic.Int32
	for range requests {
		all.Go(func() {
			p, err := c.Enter(t.Context(), Query, "a")
			if err != nil {
				t.Error(err)
			}
			ran.Add(1)
			p.Leave()
		})
	}
	all.Go(func() {
		p, err := c.Enter(t.Context(), Read, "a")
		if err != nil {
			t.Error(err)
		}
		before.Store(ran.Load())
		p.Leave()
	})
	all.Go(func() {}) // what was started last runs first, and all else in its order
	all.Wait()
	if n := before.Load(); n > requests/2 {
		t.Errorf("a read that came behind %d requests waited until %d of them were over", requests, n)
	}
}

func TestWhoWaitsInVainIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := control(t, idle)
		fill(t, c, Query, "a")
		began := time.Now()
		_, err := c.Enter(t.Context(), Query, "a")
		if e := fault.As(err); e == nil || e.Kind != fault.Unavailable || e.Reason != Overloaded || e.RetryAfter < time.Second || time.Since(began) < DefaultPatience*3/4 || time.Since(began) > DefaultPatience*5/4 {
			t.Errorf("a server that is full answers after %s: %v", time.Since(began), err)
		}
		if p, err := c.Enter(t.Context(), Query, "b"); err != nil || p == nil {
			t.Errorf("another tenant's first: %v", err)
		}
		_, err = c.Enter(t.Context(), Query, "a")
		if e := fault.As(err); e == nil || e.Kind != fault.Throttled || e.RetryAfter < time.Second {
			t.Errorf("a tenant with more than its part is answered %v", err)
		}
		if s := c.Stats(Query); s.Refused != 2 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhoGivesUpIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := control(t, idle)
		fill(t, c, Write, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Enter(ctx, Write, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who gives up gets %v", err)
		}
		if s := c.Stats(Write); s.Refused != 0 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestReadsAreCountedOnlyWhileWorkWaits lets work wait, and stops that again.
func TestReadsAreCountedOnlyWhileWorkWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var delay atomic.Int64
		c := control(t, func() Delays { return Delays{Processor: time.Duration(delay.Load())} })
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go c.Run(ctx)
		if p, err := c.Enter(ctx, Read, "a"); p != nil || err != nil {
			t.Errorf("a read on an idle server: %v, %v", p, err)
		}
		early, _ := c.Enter(ctx, Query, "a")
		delay.Store(int64(time.Second))
		time.Sleep(20 * Interval)
		for class, least := range map[Class]int{Read: limits[Read].least, Query: limits[Query].least, Write: limits[Write].least, Use: limits[Use].least} {
			if got := c.Stats(class).Limit; got != least {
				t.Errorf("while work waits for a second, %d of class %s run at once, want %d", got, class, least)
			}
		}
		passes := fill(t, c, Read, "a")
		waiting := make(chan error)
		go func() {
			_, err := c.Enter(ctx, Read, "a")
			waiting <- err
		}()
		synctest.Wait()
		delay.Store(0)
		time.Sleep(40 * Interval)
		if err := <-waiting; err != nil {
			t.Errorf("who waited when the load was gone: %v", err)
		}
		if p, err := c.Enter(ctx, Read, "a"); p != nil || err != nil {
			t.Errorf("a read when all is over: %v, %v", p, err)
		}
		for _, p := range append(passes, early) {
			p.Leave()
		}
		if s := c.Stats(Read); s.Limit != 0 || s.Waiting != 0 || s.Running != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestExemptAreNeitherCountedNorHeldUp(t *testing.T) {
	c := control(t, idle)
	if p, err := c.Enter(t.Context(), Exempt, "a"); p != nil || err != nil {
		t.Errorf("%v, %v", p, err)
	}
}

func TestIncompleteControlsAreRefused(t *testing.T) {
	good := Config{Clock: clock.System{}, Procs: 1, MostWaiting: 1, Delays: idle}
	for name, spoil := range map[string]func(*Config){"clock": func(c *Config) { c.Clock = nil }, "processors": func(c *Config) { c.Procs = 0 },
		"bound": func(c *Config) { c.MostWaiting = 0 }, "delays": func(c *Config) { c.Delays = nil }, "patience": func(c *Config) { c.Patience = -1 }} {
		bad := good
		spoil(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("a control without %s is taken", name)
		}
	}
}

func BenchmarkEnterOpen(b *testing.B) {
	c, err := New(Config{Clock: clock.System{}, Procs: 1, MostWaiting: 1, Delays: idle})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p, _ := c.Enter(b.Context(), Read, "a")
		p.Leave()
	}
}

func BenchmarkEnter(b *testing.B) {
	c, err := New(Config{Clock: clock.System{}, Procs: 1, MostWaiting: 1, Delays: idle})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p, _ := c.Enter(b.Context(), Query, "a")
		p.Leave()
	}
}

func TestSheddingIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []bool
		c, err := New(Config{Clock: clock.System{}, Procs: 1, MostWaiting: 10, Delays: idle, OnShedding: func(on bool) { told = append(told, on) }})
		if err != nil {
			t.Fatal(err)
		}
		c.regulate(Interval)
		for range 2 {
			fill(t, c, Query, "a")
			if _, err := c.Enter(t.Context(), Query, "a"); err == nil {
				t.Fatal("a full line let in")
			}
			c.regulate(Interval)
		}
		time.Sleep(quiet - Interval)
		if c.regulate(Interval); !c.Shedding() || !slices.Equal(told, []bool{true}) {
			t.Errorf("within a minute: %t, told %v", c.Shedding(), told)
		}
		time.Sleep(Interval)
		if c.regulate(Interval); c.Shedding() || !slices.Equal(told, []bool{true, false}) {
			t.Errorf("behind a minute: %t, told %v", c.Shedding(), told)
		}
	})
}
