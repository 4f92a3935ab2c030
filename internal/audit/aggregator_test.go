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
