package cluster_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/e2e/netns"
)

// TestFaults is the run.
func TestFaults(t *testing.T) {
	keywright.Build(t)
	if !netns.Enter(t, netns.Spec{Network: true}) {
		return
	}
	r := begin(t, planned(t))
	r.say("everything is in use")
	// Applications go on until the rotations are over that wait for them.
	ctx, cancel := context.WithCancel(t.Context())
	applied, end := context.WithCancel(t.Context())
	var loads, applications sync.WaitGroup
	defer func() {
		cancel()
		loads.Wait()
		end()
		applications.Wait()
	}()
	r.use(ctx, applied, &loads, &applications)
	began := time.Now()
	rest(ctx, r.calm)
	r.recover(ctx)
	r.hurt(ctx)
	lasted := time.Since(began)
	r.say("everything comes to its end")
	cancel()
	loads.Wait()
	end()
	applications.Wait()
	r.judge(t.Context())
	r.report(lasted)
}

// use has everything be used until ctx ends, and the targets by applications until applied does.
func (r *run) use(ctx, applied context.Context, loads, apps *sync.WaitGroup) {
	for lane := range 2 {
		loads.Go(func() { r.registers(ctx, lane) })
	}
	loads.Go(func() { r.counts(ctx) })
	for range 4 {
		loads.Go(func() { r.available(ctx) })
	}
	for vault, within := range map[string]time.Duration{strict: bound, brief: r.briefFor + bound, changing: staleFor + bound} {
		loads.Go(func() { r.withdrawals(ctx, vault, within) })
	}
	for _, target := range r.targets {
		for i := range applications {
			apps.Go(func() { r.application(applied, target, i) })
		}
		loads.Go(func() { r.rotations(ctx, target) })
	}
	loads.Go(func() { r.renewals(ctx) })
}

// judge looks at what is there when all is over.
func (r *run) judge(ctx context.Context) {
	r.say("what was acknowledged is looked for")
	var all errgroup.Group
	all.SetLimit(8)
	for i, a := range r.acked {
		all.Go(func() error {
			got, err := r.answered(ctx, r.in.nodes[i%len(r.in.nodes)], a.name+"/"+a.version)
			if err := failure(got, err); err != nil || got.value != a.value {
				r.wrong("version %s of %s, which was acknowledged, is lost: %q %v", a.version, a.name, got.value, err)
			}
			return nil
		})
	}
	_ = all.Wait() // they return none
	for _, judge := range r.finals {
		judge(ctx)
	}
	r.say("the audit logs are proved")
	for i, native := range r.natives {
		var report *api.AuditReport
		var err error
		for end := time.Now().Add(time.Minute); ; rest(ctx, time.Second) {
			if report, err = native.VerifyAudit(ctx, ""); err == nil || time.Now().After(end) {
				break
			}
		}
		if err != nil || !report.OK {
			r.wrong("%s: the audit logs do not verify: %+v %v", r.in.nodes[i].name, report, err)
			continue
		}
		r.Logf("%s: %d records of %d logs verify", r.in.nodes[i].name, report.Records, len(report.Logs))
		if len(report.Logs) < len(r.in.nodes) {
			r.wrong("%s proved %d logs, of %d nodes", r.in.nodes[i].name, len(report.Logs), len(r.in.nodes))
		}
	}
}

// answered reads a secret of the strict vault until there is an answer: a node may have been refusing for a moment.
func (r *run) answered(ctx context.Context, n *node, name string) (a answer, err error) {
	for end := time.Now().Add(recoveryMost); ; rest(ctx, 50*time.Millisecond) {
		if a, err = n.get(ctx, strict, r.token, name); !later(a, err) || time.Now().After(end) {
			return a, err
		}
	}
}

// report says what was done.
func (r *run) report(lasted time.Duration) {
	f := &r.figures
	r.Logf("%s: %d writes acknowledged and found (%d in doubt), %d reads judged (%d refused for now), at most %s behind", lasted.Round(time.Second), f.writes.Load(), f.doubtful.Load(),
		f.reads.Load(), f.refused.Load(), f.stalest.Round(time.Millisecond))
	r.Logf("%d grants and %d withdrawals; what was withdrawn was served until %v after", f.grants.Load(), f.withdrawals.Load(), f.latest)
	r.Logf("%d reads of what nodes remember, %d of which failed with their retry; %d answers of nodes that were cut off, all refusals", f.available.Load(), f.unavailable.Load(), f.closed.Load())
	r.Logf("%v rotations, the slowest of which took %s; %d logins, %d rejected, %d other errors; %d certificates", f.rotations, f.slowest.Round(time.Millisecond), f.logins.Load(),
		f.rejected.Load(), f.loginErrors.Load(), f.renewals.Load())
	if f.unavailable.Load() > f.available.Load()/10000 {
		r.wrong("%d of %d reads of what nodes remember failed with their retry: more than one in ten thousand", f.unavailable.Load(), f.available.Load())
	}
	if f.loginErrors.Load() > f.logins.Load()/1000 {
		r.wrong("%d logins failed for other reasons", f.loginErrors.Load())
	}
	for what, n := range map[string]int64{"writes": f.writes.Load() / 10, "reads": f.reads.Load() / 100, "reads of what is remembered": f.available.Load() / 100, "withdrawals": f.withdrawals.Load(),
		"logins": f.logins.Load() / 10, "certificates": f.renewals.Load(), "refusals of nodes that are cut off": f.closed.Load()} {
		if n < 1 {
			r.wrong("there were too few %s to prove anything", what)
		}
	}
	if names := []string{"sql", "mq"}; slices.ContainsFunc(names, func(name string) bool { return f.rotations[name] < 1 }) {
		r.wrong("there were too few rotations to prove anything: %v", f.rotations)
	}
}
