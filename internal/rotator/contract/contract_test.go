package contract_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/contract"
)

var (
	target = &rotator.Target{Attempt: "a1", Admin: rotator.Credential{Account: "admin", Value: redact.Bytes("the key of the administrator")}}
	next   = rotator.Credential{Account: "app", Version: "v2", Value: redact.Bytes("the value that comes next")}
	old    = rotator.Credential{Account: "app", Version: "v1", Value: redact.Bytes("the value that is current")}
)

// says is a receiver that gives these replies, one after the other.
func says(t *testing.T, replies ...contract.Reply) *contract.Receiver {
	return &contract.Receiver{Name: "the receiver", Endpoint: "here", Send: func(_ context.Context, o *contract.Order) (*contract.Reply, error) {
		if len(replies) == 0 {
			t.Fatal("it was asked too often")
		}
		r := replies[0]
		replies = replies[1:]
		return &r, nil
	}}
}

func TestRepliesToChanges(t *testing.T) {
	for _, c := range []struct {
		reply contract.Reply
		set   rotator.Class
		fails bool
	}{
		{contract.Reply{Answer: contract.Done}, 0, false},
		{contract.Reply{Answer: contract.NotApplied}, rotator.NotApplied, true},
		{contract.Reply{Answer: contract.NotApplied, Reason: contract.Denied}, rotator.Denied, true},
		{contract.Reply{Answer: contract.NotApplied, Reason: contract.Misconfigured}, rotator.Misconfigured, true},
		{contract.Reply{Answer: contract.NotApplied, Reason: contract.Busy}, rotator.Busy, true},
		{contract.Reply{Answer: contract.NotApplied, Reason: "a reason that nobody knows"}, rotator.NotApplied, true},
		{contract.Reply{Answer: contract.Rejected}, rotator.Refused, true},
		{contract.Reply{Answer: contract.Unknown}, rotator.Doubt, true},
	} {
		err := says(t, c.reply).Set(t.Context(), target, rotator.Change{Credential: next})
		if (err != nil) != c.fails || err != nil && rotator.ClassOf(err) != c.set {
			t.Errorf("%+v to set: %v of class %v", c.reply, err, rotator.ClassOf(err))
		}
	}
	// To revoke, a rejection makes no sense: it proves nothing.
	err := says(t, contract.Reply{Answer: contract.Rejected}).Revoke(t.Context(), target, rotator.Change{Credential: old, Keep: &next})
	if rotator.ClassOf(err) != rotator.Doubt || err == nil {
		t.Errorf("rejected to revoke: %v", err)
	}
}

func TestRepliesToProbes(t *testing.T) {
	for _, c := range []struct {
		reply contract.Reply
		want  rotator.Verdict
	}{
		{contract.Reply{Answer: contract.Done, Identity: "app at the site"}, rotator.Accepted},
		{contract.Reply{Answer: contract.Done}, rotator.Unknown}, // as whom?
		{contract.Reply{Answer: contract.Rejected}, rotator.Rejected},
		{contract.Reply{Answer: contract.NotApplied, Reason: contract.Busy}, rotator.Unknown},
		{contract.Reply{Answer: contract.Unknown}, rotator.Unknown},
	} {
		logins, err := says(t, c.reply).Probe(t.Context(), target, next)
		if err != nil || len(logins) != 1 || logins.Verdict() != c.want {
			t.Errorf("%+v: %+v, %v, want %v", c.reply, logins, err, c.want)
		}
	}
}

func TestPendingIsAskedAgain(t *testing.T) {
	begin := time.Now()
	if err := says(t, contract.Reply{Answer: contract.Pending}, contract.Reply{Answer: contract.Done}).Set(t.Context(), target, rotator.Change{Credential: next}); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took < time.Second {
		t.Errorf("it came back after %v, want a second", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := says(t, contract.Reply{Answer: contract.Pending, RetryAfter: 3600}).Set(ctx, target, rotator.Change{Credential: next})
	if err == nil || rotator.ClassOf(err) != rotator.Doubt {
		t.Errorf("an order that stays pending: %v, want doubt", err)
	}
}

// A receiver that cannot try credentials leaves what is unknown to a person at once.
func TestBlindReceivers(t *testing.T) {
	for answer, want := range map[contract.Answer]rotator.Class{contract.Unknown: rotator.Misconfigured, contract.NotApplied: rotator.NotApplied} {
		r := says(t, contract.Reply{Answer: answer})
		r.Blind = true
		if err := r.Set(t.Context(), target, rotator.Change{Credential: next}); err == nil || rotator.ClassOf(err) != want {
			t.Errorf("%s: %v, want class %v", answer, err, want)
		}
	}
	r := says(t)
	r.Blind = true
	if _, err := r.Probe(t.Context(), target, next); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("a probe: %v", err)
	}
	r = says(t, contract.Reply{Answer: contract.Done, System: "x 1", Identities: map[string]string{"app": "x:app"}})
	r.Blind = true
	report, err := r.Preflight(t.Context(), target, rotator.Plan{Strategy: rotator.Single, Accounts: []string{"app"}, Current: &old, Next: next})
	if err != nil || len(report.Warnings) == 0 {
		t.Errorf("a preflight: %+v, %v, want a warning", report, err)
	}
}

func TestPreflightNeedsNames(t *testing.T) {
	plan := rotator.Plan{Strategy: rotator.Single, Accounts: []string{"app"}, Next: next}
	for _, r := range []contract.Reply{
		{Answer: contract.Done, Identities: map[string]string{"app": "x:app"}},
		{Answer: contract.Done, System: "x 1"},
		{Answer: contract.Rejected},
	} {
		if report, err := says(t, r).Preflight(t.Context(), target, plan); rotator.ClassOf(err) != rotator.Misconfigured || report != nil {
			t.Errorf("%+v: %+v, %v", r, report, err)
		}
	}
}

// Keys tell one effect from another, and the same effect has the same key without showing its value.
func TestKeys(t *testing.T) {
	var seen []string
	r := &contract.Receiver{Name: "the receiver", Send: func(_ context.Context, o *contract.Order) (*contract.Reply, error) {
		seen = append(seen, o.Key())
		return &contract.Reply{Answer: contract.Done}, nil
	}}
	unnamed, other := next, next
	unnamed.Version, other.Version, other.Value = "", "", redact.Bytes("quite another value")
	for _, c := range []rotator.Change{{Credential: next}, {Credential: next}, {Credential: old}, {Credential: next, Keep: &old}, {Credential: unnamed}, {Credential: unnamed}, {Credential: other}} {
		if err := r.Set(t.Context(), target, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Revoke(t.Context(), target, rotator.Change{Credential: next}); err != nil {
		t.Fatal(err)
	}
	if seen[0] != "a1:set:v2" || seen[0] != seen[1] || seen[4] != seen[5] {
		t.Errorf("repetitions have other keys: %q", seen)
	}
	different := map[string]bool{}
	for _, i := range []int{0, 2, 3, 4, 6, 7} {
		different[seen[i]] = true
		if strings.Contains(seen[i], "value") {
			t.Errorf("a key shows a value: %q", seen[i])
		}
	}
	if len(different) != 6 {
		t.Errorf("two effects have one key: %q", seen)
	}
}

func TestWordsWithValuesAreDropped(t *testing.T) {
	for _, form := range []string{string(next.Value), base64.StdEncoding.EncodeToString(next.Value), "746865207661" + "6c756520746861742020"} {
		err := says(t, contract.Reply{Answer: contract.NotApplied, Message: "I dislike " + form}).Set(t.Context(), target, rotator.Change{Credential: next})
		if err == nil || strings.Contains(err.Error(), string(next.Value)) || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(next.Value)) {
			t.Errorf("%v", err)
		}
	}
	if got := contract.Clean("a\x1b[31m\nb" + strings.Repeat("c", 1000)); strings.ContainsAny(got, "\x1b\n") || len(got) > 400 {
		t.Errorf("not clean: %q", got)
	}
}

// No message shows a value that was not put into it on purpose.
func TestOrdersShowNoValues(t *testing.T) {
	r := &contract.Receiver{Name: "the receiver", Send: func(_ context.Context, o *contract.Order) (*contract.Reply, error) {
		text, err := json.Marshal(o)
		if err != nil || strings.Contains(string(text), "value that") || strings.Contains(string(text), "redacted") {
			t.Errorf("%s, %v", text, err)
		}
		return &contract.Reply{Answer: contract.Done}, nil
	}}
	if err := r.Set(t.Context(), target, rotator.Change{Credential: next, Keep: &old}); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"answer":"done","identities":{"a":"b"},"retryAfter":3}`))
	f.Add([]byte(`{"answer":"perhaps"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := contract.Parse(text)
		if (r == nil) == (err == nil) {
			t.Fatalf("%v, %v", r, err)
		}
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := contract.Parse(again); err != nil || second.Answer != r.Answer {
			t.Errorf("%s -> %s -> %+v, %v", text, again, second, err)
		}
	})
}
