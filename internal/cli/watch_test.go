package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/store"
)

// TestEveryStateIsExplained: the engine's failpoints name every state that a run can be in.
func TestEveryStateIsExplained(t *testing.T) {
	states := map[string]bool{}
	for _, kind := range []store.RunKind{store.RotationRun, store.RevocationRun, store.AuthorityRun} {
		for _, p := range rotation.Points(kind) {
			if state, ok := strings.CutPrefix(string(p), "before commit of "); ok {
				states[state] = true
			}
		}
	}
	for state := range states {
		if meanings[state] == "" {
			t.Errorf("the state %s is not explained", state)
		}
	}
	for state := range meanings {
		if !states[state] {
			t.Errorf("%s is explained, which is no state of a run", state)
		}
	}
	if len(states) < 25 {
		t.Errorf("only %d states were found: the test looks in the wrong place", len(states))
	}
}

func runAt(now time.Time, steps ...string) *api.Rotation {
	r := &api.Rotation{ID: "0123", Kind: api.RotationRun, Name: "db\x1b[31m", Cause: api.OnDemand, Account: "app_b", Open: true, Since: now}
	for i, s := range steps {
		r.Steps = append(r.Steps, api.RotationStep{At: now.Add(time.Duration(i) * 250 * time.Millisecond), To: s, Reason: "Why"})
		r.State = s
	}
	r.Open = r.State != api.RunDone
	return r
}

func draw(t *testing.T, a *app, live bool, runs ...*api.Rotation) string {
	t.Helper()
	var out bytes.Buffer
	a.Stdout, a.Getenv = &out, func(string) string { return "" }
	d := a.newDrawing()
	d.live = live
	for _, r := range runs {
		if err := d.update(r); err != nil {
			t.Fatal(err)
		}
	}
	d.end()
	return out.String()
}

func TestEachStepIsDrawnOnce(t *testing.T) {
	now := time.Now()
	waiting := runAt(now, "queued", "setting")
	waiting.Waiting = []api.RotationHolder{{Name: "shop", Instance: "pod-1"}}
	text := draw(t, &app{}, false, runAt(now, "queued"), waiting, waiting, runAt(now, "queued", "setting", "done"))
	for what, n := range map[string]int{"queued": 1, "setting": 1, "+250ms": 2, "waits for 1: shop pod-1": 1, "(app_b)": 1, "✓": 1, "\x1b": 0, "…": 0} {
		if got := strings.Count(text, what); got != n {
			t.Errorf("%q is there %d times and not %d:\n%s", what, got, n, text)
		}
	}
}

func TestTheLiveLineIsTakenAway(t *testing.T) {
	now := time.Now()
	text := draw(t, &app{}, true, runAt(now, "queued"), runAt(now, "queued", "setting"))
	if !strings.Contains(text, "… queued for") || !strings.Contains(text, "… setting for") || !strings.HasSuffix(text, "\r\x1b[K") {
		t.Errorf("the line under way is drawn as %q", text)
	}
	if strings.Count(text, "\r\x1b[K") != strings.Count(text, "… ") {
		t.Errorf("a live line was left behind: %q", text)
	}
}

func TestProgramsGetOneObjectPerLine(t *testing.T) {
	now := time.Now()
	text := draw(t, &app{output: "json"}, false, runAt(now, "queued"), runAt(now, "queued", "done"))
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines", len(lines))
	}
	var last api.Rotation
	if err := json.Unmarshal([]byte(lines[1]), &last); err != nil || last.State != api.RunDone || last.Open {
		t.Errorf("%v %+v", err, last)
	}
}

func TestHowARunEndsDecidesTheExitCode(t *testing.T) {
	for state, code := range map[string]int{api.RunDone: ExitOK, api.RunAborted: ExitFailure, api.RunSuperseded: ExitFailure, api.RunStuck: ExitFailure, "setting": ExitFailure} {
		err := ended(&api.Rotation{State: state, ID: "0123", Kind: api.RotationRun})
		got := ExitOK
		if err != nil {
			got = exitCode(err)
		}
		if got != code {
			t.Errorf("%s ends with %d", state, got)
		}
	}
	if got := exitCode(exitError{ExitConflict, errors.New("x")}); got != ExitConflict {
		t.Errorf("an error with a code of its own ends with %d", got)
	}
}

func FuzzPolicyDocument(f *testing.F) {
	f.Add([]byte("strategy: alternating\ntarget: {endpoints: [a]}"))
	f.Add([]byte(`{"strategy": "single", "grace": "1h"}`))
	f.Add([]byte("1: 2"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		doc, err := policyDocument(raw)
		if err != nil {
			if doc != nil {
				t.Error("an error came with a document")
			}
			return
		}
		var out map[string]any
		if err := json.Unmarshal(doc, &out); err != nil {
			t.Errorf("%q became %q: %v", raw, doc, err)
		}
	})
}
