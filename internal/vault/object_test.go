package vault_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestObjectMoves makes random moves of an object, legal and not, beside a model of three words: where it is, what its
// labels are, when it may be purged.
func TestObjectMoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := &vault.Object{ID: "o", Kind: vault.Secret, Name: "Db-Password"}
		labels := map[vault.Label]vault.VersionID{}
		var deletedAt, purgeAt time.Time
		gone := false
		now := noon
		protected := rapid.Bool().Draw(t, "purge protection")
		retention := time.Duration(rapid.IntRange(vault.MinRetentionDays, vault.MaxRetentionDays).Draw(t, "days")) * 24 * time.Hour
		version := rapid.SampledFrom([]vault.VersionID{"v1", "v2", "v3", ""})
		label := rapid.SampledFrom([]vault.Label{vault.Current, vault.Previous, vault.Pending, "mine"})
		// unchanged proves that moves copy: whoever still reads the old object sees the old state.
		unchanged := func(before vault.Object, beforeLabels map[vault.Label]vault.VersionID, old *vault.Object) {
			if before.Current != old.Current || before.Deleted != old.Deleted || !maps.Equal(beforeLabels, old.Labels) {
				t.Fatalf("a move changed the object in place: %+v was %+v", old, before)
			}
		}
		move := func(f func(old *vault.Object)) func(*rapid.T) {
			return func(t *rapid.T) {
				if gone {
					t.Skip("purged")
				}
				old, before, beforeLabels := o, *o, maps.Clone(o.Labels)
				f(old)
				unchanged(before, beforeLabels, old)
			}
		}
		conflict := func(err error, reason fault.Reason) {
			if !fault.Is(err, fault.Conflict) || fault.As(err).Reason != reason {
				t.Fatalf("got %v; want a conflict with reason %q", err, reason)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"time passes": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(1, int64(60*24*time.Hour)).Draw(t, "step")))
			},
			"label": move(func(old *vault.Object) {
				l, v := label.Draw(t, "label"), version.Draw(t, "version")
				o = old.With(l, v)
				labels[l] = v
			}),
			"promote": move(func(old *vault.Object) {
				v := rapid.SampledFrom([]vault.VersionID{"v1", "v2", "v3"}).Draw(t, "version")
				o = old.Promote(v)
				if labels[vault.Current] != v {
					labels[vault.Previous], labels[vault.Current] = labels[vault.Current], v
				}
			}),
			"delete": move(func(old *vault.Object) {
				next, err := old.Delete(now, retention)
				if !deletedAt.IsZero() {
					conflict(err, "ObjectIsDeletedButRecoverable")
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				o, deletedAt, purgeAt = next, now, now.Add(retention)
			}),
			"recover": move(func(old *vault.Object) {
				next, err := old.Recover(now)
				if deletedAt.IsZero() {
					conflict(err, "")
					return
				}
				if !now.Before(purgeAt) {
					if !fault.Is(err, fault.NotFound) || fault.As(err).Reason == "" {
						t.Fatalf("recovering at %s what is over since %s: %v", now, purgeAt, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				o, deletedAt = next, time.Time{}
			}),
			"purge": move(func(old *vault.Object) {
				err := old.CheckPurge(now, protected)
				switch {
				case deletedAt.IsZero():
					conflict(err, "")
				case protected && now.Before(purgeAt):
					if !fault.Is(err, fault.Forbidden) {
						t.Fatalf("purging a protected object at %s of %s: %v", now, purgeAt, err)
					}
				case err != nil:
					t.Fatal(err)
				default:
					gone = true
				}
			}),
			"": func(t *rapid.T) {
				if gone {
					return
				}
				for _, l := range []vault.Label{vault.Current, vault.Previous, vault.Pending, "mine", "never"} {
					if o.LabelOf(l) != labels[l] {
						t.Fatalf("label %s points to %q; want %q", l, o.LabelOf(l), labels[l])
					}
				}
				if (o.Deleted != nil) != !deletedAt.IsZero() || (o.CheckLive() == nil) != deletedAt.IsZero() {
					t.Fatalf("the object is deleted: %v; want %v", o.Deleted, deletedAt)
				}
				if o.Deleted != nil && (!o.Deleted.At.Equal(deletedAt) || !o.Deleted.PurgeAt.Equal(purgeAt)) {
					t.Fatalf("deleted %v; want %s, %s", o.Deleted, deletedAt, purgeAt)
				}
				if _, ok := o.Labels[vault.Current]; ok {
					t.Fatal("current is kept twice")
				}
			},
		})
	})
}

func TestPromoteOfTheFirstVersionLeavesNoPrevious(t *testing.T) {
	o := (&vault.Object{}).Promote("v1")
	if _, ok := o.Labels[vault.Previous]; ok || o.Current != "v1" {
		t.Errorf("got %+v", o)
	}
	if again := o.Promote("v1"); again != o {
		t.Error("promoting the current version made another object")
	}
}

func TestLimits(t *testing.T) {
	tags := func(n, bytes int) map[string]string {
		m := make(map[string]string)
		for i := range n {
			m[strings.Repeat("k", bytes-2)+string(rune('a'+i/26))+string(rune('a'+i%26))] = strings.Repeat("v", bytes)
		}
		return m
	}
	tests := []struct {
		name string
		err  error
		ok   bool
	}{
		{"no tags", vault.CheckTags(nil), true},
		{"fifteen longest tags", vault.CheckTags(tags(15, 512)), true},
		{"sixteen tags", vault.CheckTags(tags(16, 4)), false},
		{"a longer tag", vault.CheckTags(tags(1, 513)), false},
		{"a tag without a name", vault.CheckTags(map[string]string{"": "x"}), false},
		{"a long tag value", vault.CheckTags(map[string]string{"k": strings.Repeat("v", 513)}), false},
		{"longest content type", vault.CheckContentType(strings.Repeat("x", 255)), true},
		{"longer content type", vault.CheckContentType(strings.Repeat("x", 256)), false},
		{"no instants", vault.Attributes{}.Check(), true},
		{"only an expiry", vault.Attributes{Expires: noon}.Check(), true},
		{"expiry behind activation", vault.Attributes{NotBefore: noon, Expires: noon.Add(1)}.Check(), true},
		{"expiry at activation", vault.Attributes{NotBefore: noon, Expires: noon}.Check(), false},
		{"expiry before activation", vault.Attributes{NotBefore: noon, Expires: noon.Add(-1)}.Check(), false},
	}
	for _, tt := range tests {
		if (tt.err == nil) != tt.ok || tt.err != nil && !fault.Is(tt.err, fault.Invalid) {
			t.Errorf("%s: %v", tt.name, tt.err)
		}
	}
}

func TestMessagesOfTagsDoNotRepeatValues(t *testing.T) {
	err := vault.CheckTags(map[string]string{"k": "canary" + strings.Repeat("v", 513)})
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
}
