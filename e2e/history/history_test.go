package history_test

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/keywright/keywright/e2e/history"
)

var origin = time.Now()

// at is an instant, in seconds.
func at(seconds float64) time.Time { return origin.Add(time.Duration(seconds * float64(time.Second))) }

func TestRegister(t *testing.T) {
	for _, c := range []struct {
		name string
		tell func(*history.Register)
		want porcupine.CheckResult
	}{
		{"nothing", func(*history.Register) {}, porcupine.Ok},
		{"what was written is read", func(r *history.Register) {
			r.Wrote(1, "a", at(0), at(1))
			r.Read(2, "a", at(2), at(3))
		}, porcupine.Ok},
		{"a read within the staleness", func(r *history.Register) {
			r.Wrote(1, "a", at(0), at(1))
			r.Wrote(1, "b", at(2), at(3))
			r.Read(2, "a", at(3.9), at(4))
		}, porcupine.Ok},
		{"a read behind the staleness", func(r *history.Register) {
			r.Wrote(1, "a", at(0), at(1))
			r.Wrote(1, "b", at(2), at(3))
			r.Read(2, "a", at(4.1), at(5))
		}, porcupine.Illegal},
		{"an acknowledged write is lost", func(r *history.Register) {
			r.Wrote(1, "a", at(0), at(1))
			r.Read(2, "", at(5), at(6))
		}, porcupine.Illegal},
		{"two readers see two orders", func(r *history.Register) {
			r.Wrote(1, "a", at(0), at(10))
			r.Wrote(2, "b", at(0), at(10))
			r.Read(3, "a", at(20), at(21))
			r.Read(3, "b", at(23), at(24))
		}, porcupine.Illegal},
		{"a doubtful write that was made", func(r *history.Register) {
			r.Wrote(1, "a", at(0), at(1))
			r.MayHaveWritten(2, "b", at(2))
			r.Read(3, "a", at(5), at(6))
			r.Read(3, "b", at(8), at(9))
		}, porcupine.Ok},
		{"a doubtful write that was never made", func(r *history.Register) {
			r.Wrote(1, "a", at(0), at(1))
			r.MayHaveWritten(2, "b", at(2))
			r.Read(3, "a", at(8), at(9))
		}, porcupine.Ok},
		{"a doubtful write that was made and taken back", func(r *history.Register) {
			r.Wrote(1, "a", at(0), at(1))
			r.MayHaveWritten(2, "b", at(2))
			r.Read(3, "b", at(5), at(6))
			r.Read(3, "a", at(8), at(9))
		}, porcupine.Illegal},
		{"a value from nowhere", func(r *history.Register) {
			r.Wrote(1, "a", at(0), at(1))
			r.Read(2, "c", at(5), at(6))
		}, porcupine.Illegal},
		{"a value before it was begun", func(r *history.Register) {
			r.Wrote(1, "a", at(0), at(1))
			r.Read(2, "b", at(5), at(6))
			r.Wrote(1, "b", at(8), at(9))
		}, porcupine.Illegal},
		{"a doubtful value before it was begun", func(r *history.Register) {
			r.Wrote(1, "a", at(0), at(1))
			r.Read(2, "b", at(5), at(6))
			r.MayHaveWritten(1, "b", at(8))
		}, porcupine.Illegal},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r history.Register
			c.tell(&r)
			if got := r.Check(time.Second, time.Minute); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestCount(t *testing.T) {
	c := history.NewCount()
	write := func() {
		c.Begin()
		c.Acknowledge()
	}
	write()
	write()
	written := time.Now()
	if err := c.Read(2, 1, time.Now(), 0); err != nil {
		t.Error(err)
	}
	if err := c.Read(1, 1, written.Add(500*time.Millisecond), time.Second); err != nil {
		t.Errorf("within the staleness: %v", err)
	}
	if w := c.Worst(); w < 400*time.Millisecond || w > 600*time.Millisecond {
		t.Errorf("the worst is %s", w)
	}
	for what, err := range map[string]error{
		"behind the staleness": c.Read(1, 1, written.Add(1100*time.Millisecond), time.Second),
		"back":                 c.Read(1, 2, written, time.Second),
		"ahead":                c.Read(3, 2, written, time.Second),
	} {
		if err == nil {
			t.Errorf("%s: nothing is wrong", what)
		}
	}
	if c.Begin() != 3 || c.Acknowledged() != 2 {
		t.Error("what was begun counts as acknowledged")
	}
	if err := c.Read(3, 2, time.Now(), 0); err != nil {
		t.Errorf("what was begun may be read: %v", err)
	}
}
