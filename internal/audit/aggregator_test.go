package audit

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
)

func TestAggregator(t *testing.T) {
	now := clock.NewManual(epoch)
	var got []*Record
	var fail error
	a, err := NewAggregator(AggregatorConfig{Clock: now, MaxKeys: 3, Append: func(_ context.Context, r *Record) error {
		if fail == nil {
			got = append(got, r)
		}
		return fail
	}})
	if err != nil {
		t.Fatal(err)
	}
	add := func(n int, host, address, reason string) {
		for range n {
			a.Add(Refusal{Door: "azure", Host: host, Address: netip.MustParseAddr(address), Reason: reason})
			now.Advance(time.Second)
		}
	}
	add(3, "v", "192.0.2.1", "NoToken")
	add(2, "v", "192.0.2.200", "NoToken")
	add(1, "v", "2001:db8::1", "NoToken")
	add(1, "v", "2001:db8::ffff", "NoToken")
	add(1, "v", "192.0.2.1", "Expired")
	add(4, "w", "192.0.2.1", "NoToken") // one kind too many
	fail = errors.New("full")
	if a.Flush(t.Context()) == nil {
		t.Fatal("the failure is hidden")
	}
	fail = nil
	add(1, "v", "192.0.2.1", "NoToken") // joins what could not be written
	a.Stop()
	a.Stop()
	counts := map[string]uint64{}
	for _, r := range got {
		counts[strings.Join([]string{r.VaultName, r.ClientAddress.String(), r.Reason}, " ")] = r.Count
		if r.Outcome != Denied || r.Status != 401 {
			t.Errorf("%+v", r)
		}
		if r.Count == 6 && (!r.Time.Equal(epoch) || r.Duration != 12*time.Second || r.ClientBits != 24) {
			t.Errorf("%+v", r)
		}
	}
	want := map[string]uint64{"v 192.0.2.0 NoToken": 6, "v 2001:db8:: NoToken": 2, "v 192.0.2.0 Expired": 1, " invalid IP Other": 4}
	for k, n := range want {
		if counts[k] != n {
			t.Errorf("%s: %d, want %d", k, counts[k], n)
		}
	}
	if len(counts) != len(want) {
		t.Errorf("%v", counts)
	}
}

// TestAggregatorStaysBoundedWhileAppendsFail refuses other callers in each interval, none of which can be recorded.
func TestAggregatorStaysBoundedWhileAppendsFail(t *testing.T) {
	var fail error
	var n uint64
	var a *Aggregator
	address := func(i, j byte) netip.Addr { return netip.AddrFrom4([4]byte{10, i, j, 1}) }
	var meanwhile func()
	a, err := NewAggregator(AggregatorConfig{Clock: clock.NewManual(epoch), MaxKeys: 3, Append: func(_ context.Context, r *Record) error {
		if meanwhile != nil {
			meanwhile()
			meanwhile = nil
		}
		if fail == nil {
			n += r.Count
		}
		return fail
	}})
	if err != nil {
		t.Fatal(err)
	}
	fail = errors.New("full")
	for i := range byte(10) {
		for j := range byte(3) {
			a.Add(Refusal{Address: address(i, j)})
		}
		meanwhile = func() { // what is refused while the records are appended takes the place of those that failed
			for j := range byte(3) {
				a.Add(Refusal{Address: address(i, 100+j)})
			}
		}
		if a.Flush(t.Context()) == nil {
			t.Fatal("the failure is hidden")
		}
		if len(a.counts) > 3 {
			t.Fatalf("%d kinds of refusal are kept, of at most 3", len(a.counts))
		}
	}
	fail = nil
	a.Stop()
	if n != 60 {
		t.Errorf("%d of 60 refusals were recorded", n)
	}
}
