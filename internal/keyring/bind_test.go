package keyring

import (
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/store"
)

// The encoding is stored format: if one of these changes, nothing that was stored before opens any more.
func TestBindingKnownAnswers(t *testing.T) {
	p := Place{Tenant: "t", Vault: "va", Object: "o", Version: "ver"}
	tests := map[string]struct {
		got  []byte
		want string
	}{
		"nothing":     {binding(), "01"},
		"empty field": {binding(""), "0100000000"},
		"value":       {p.bindValue(), "01" + "00000005" + "76616c7565" + "00000001" + "74" + "00000002" + "7661" + "00000001" + "6f" + "00000003" + "766572"},
		"data key": {p.bindDataKey("k"), "01" + "00000008" + "646174612d6b6579" + "00000001" + "6b" + "00000001" + "74" + "00000002" + "7661" +
			"00000001" + "6f" + "00000003" + "766572"},
		"key": {bindKeyRow(&store.WrappedKey{ID: "i", Purpose: store.VaultKey, Owner: "ow", Parent: "p"}),
			"01" + "00000003" + "6b6579" + "00000001" + "69" + "00000005" + "7661756c74" + "00000002" + "6f77" + "00000001" + "70"},
		"service data key": {serviceDataKey("t", "totp", "id")("k"), "01" + "00000010" + "736572766963652d646174612d6b6579" + "00000001" + "6b" +
			"00000001" + "74" + "00000004" + "746f7470" + "00000002" + "6964"},
	}
	for name, tt := range tests {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s = %s, want %s", name, got, tt.want)
		}
	}
}

func TestBindingIsInjective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOfN(rapid.StringN(0, 3, 6), 0, 4)
		a, b := fields.Draw(t, "a"), fields.Draw(t, "b")
		same := len(a) == len(b)
		for i := 0; same && i < len(a); i++ {
			same = a[i] == b[i]
		}
		if (string(binding(a...)) == string(binding(b...))) != same {
			t.Fatalf("%q and %q", a, b)
		}
	})
}

func TestCacheIsBoundedAndTellsWhatLeaves(t *testing.T) {
	const entries = 64
	kept := map[int]bool{}
	c := newCache[int](entries, func(v int) { delete(kept, v) })
	for i := range 10 * entries {
		kept[i] = true
		c.put(i, i)
		if _, ok := c.get(0); !ok {
			t.Fatalf("an entry that is always in use was dropped after %d others", i)
		}
		if n := c.len(); n > entries || n != len(kept) {
			t.Fatalf("%d entries, %d not told of", n, len(kept))
		}
	}
	c.remove(0)
	if _, ok := c.get(0); ok || kept[0] {
		t.Error("a removed entry is there")
	}
	c.clear()
	if c.len() != 0 || len(kept) != 0 {
		t.Errorf("after clear: %d entries, %d not told of", c.len(), len(kept))
	}
}

// A session ends long before its nonces do.
func TestAuditSaltIsRenewed(t *testing.T) {
	a := &auditSession{limit: 3}
	n := 0
	for a.records.Add(1) <= a.limit {
		n++
	}
	if n != 3 || recordsPerSalt >= 1<<32 {
		t.Errorf("%d records of 3; limit %d", n, uint64(recordsPerSalt))
	}
}
