package rotation

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/redact"
)

func TestURLCredentials(t *testing.T) {
	const like = "postgresql://shop_a:old@db.test:5432/shop?sslmode=verify-full&application_name=a%20b"
	f := Format{Kind: URL}
	l, err := f.parse([]byte(like))
	if err != nil || l.account != "shop_a" || string(l.value.Reveal()) != "old" {
		t.Fatalf("read as %q, %v", l.account, err)
	}
	value, err := f.compose([]byte(like), "shop_b", redact.Bytes("n:w/@?#%"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(value), "postgresql://shop_b:") || !strings.HasSuffix(string(value), "@db.test:5432/shop?sslmode=verify-full&application_name=a%20b") {
		t.Errorf("composed as %s", value)
	}
	if l, err = f.parse(value); err != nil || l.account != "shop_b" || string(l.value.Reveal()) != "n:w/@?#%" {
		t.Errorf("read back as %q, %v", l.account, err)
	}
	for _, bad := range []string{"", "canary", "postgresql://db.test/shop", "postgresql://shop_a@db.test/shop", "postgresql://:canary@db.test/shop", "postgresql://a:%zzcanary@db.test/",
		"//a:canary@db.test", "mailto:a:canary@db.test"} {
		if _, err := f.parse([]byte(bad)); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", bad, err)
		}
		if v, err := f.compose([]byte(bad), "a", redact.Bytes("x")); err == nil || v != nil {
			t.Errorf("composed like %q", bad)
		}
	}
}

// What is a URL with a credential stays one, with the new credential and nothing else in it.
func FuzzURLCredential(f *testing.F) {
	f.Add("postgresql://a:b@h:1/d?x=y#z", "user", "pass")
	f.Add("amqps://a:b%40c@[::1]:5671/%2f", "we\"ird;--", "n:w/@?#%")
	f.Fuzz(func(t *testing.T, like, account, password string) {
		form := Format{Kind: URL}
		value, err := form.compose([]byte(like), account, redact.Bytes(password))
		if err != nil {
			if value != nil {
				t.Error("a value beside an error")
			}
			return
		}
		l, err := form.parse(value)
		if account == "" || password == "" {
			return // no credential, which readers refuse
		}
		if err != nil || l.account != account || string(l.value.Reveal()) != password {
			t.Fatalf("%q with %q reads back as %q, %v", like, account, l.account, err)
		}
		again, err := form.compose(value, account, redact.Bytes(password))
		if err != nil || string(again) != string(value) {
			t.Errorf("composed once more it is %q, %v", again, err)
		}
	})
}
