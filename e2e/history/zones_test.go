package history

import (
	"fmt"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"
)

// TestZonesAgree draws small histories, right and wrong ones: both ways to decide say the same, and so does the search over all operations instead of those that matter.
func TestZonesAgree(t *testing.T) {
	var right, wrong int
	rapid.Check(t, func(t *rapid.T) {
		at := func(n int) time.Time { return time.Unix(int64(n), 0) }
		var r Register
		var every []porcupine.Operation
		const span = 24
		add := func(o operation) {
			r.add(o)
			p := porcupine.Operation{ClientId: o.client, Input: input{o.write, o.value}, Output: o.value, Call: o.began.Unix(), Return: o.ended.Unix()}
			if o.ended.IsZero() {
				p.Return = 10 * span
			}
			every = append(every, p)
		}
		writes := rapid.IntRange(1, 4).Draw(t, "writes")
		for i := range writes {
			began := rapid.IntRange(0, span).Draw(t, "began")
			o := operation{i, true, fmt.Sprint(i), at(began), at(began + rapid.IntRange(1, 8).Draw(t, "took"))}
			if rapid.IntRange(0, 4).Draw(t, "doubt") == 0 {
				o.ended = time.Time{}
			}
			add(o)
		}
		for i := range rapid.IntRange(0, 6).Draw(t, "reads") {
			began := rapid.IntRange(0, span).Draw(t, "began")
			value := ""
			if v := rapid.IntRange(0, writes).Draw(t, "value"); v < writes {
				value = fmt.Sprint(v)
			}
			add(operation{100 + i, false, value, at(began), at(began + rapid.IntRange(1, 8).Draw(t, "took"))})
		}
		list := r.operations(0)
		search, decided := porcupine.CheckOperationsTimeout(model, list, time.Minute), zones(list)
		whole := porcupine.CheckOperationsTimeout(model, every, time.Minute)
		if search != decided || search != whole {
			t.Fatalf("the search says %s, the zones %s, the search over everything %s: %v", search, decided, whole, r.ops)
		}
		if search == porcupine.Ok {
			right++
		} else {
			wrong++
		}
	})
	if right == 0 || wrong == 0 {
		t.Errorf("%d right and %d wrong histories were drawn", right, wrong)
	}
}
