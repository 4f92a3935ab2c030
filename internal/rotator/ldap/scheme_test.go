package ldap

import "testing"

func TestCompare(t *testing.T) {
	// Values that slappasswd(8) 2.5.13 and argon2(1) made of "secret" would be of no use as the only proof: the suite lets the
	// server check ours. Here is what the comparison does with what others store.
	for _, c := range []struct {
		stored string
		want   fit
	}{
		{"secret", fits},
		{"other", differs},
		{ssha([]byte("secret")), fits},
		{ssha([]byte("other")), differs},
		{argon([]byte("secret")), fits},
		{argon([]byte("other")), differs},
		{"{sha}5en6G6MezRroT3XKqkdPOmY/BfQ=", fits}, // SHA-1 of secret
		{"{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=", fits},
		{"{SHA}x", unreadable},
		{"{SSHA}c2hvcnQ=", unreadable},
		{"{CRYPT}$6$x$y", unreadable},
		{"{ARGON2}$argon2id$v=19$m=4000000000,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ", unreadable},
		{"{ARGON2}$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ", unreadable},
		{"{ARGON2}", unreadable},
		{nobodys(), differs},
	} {
		if got := compare(c.stored, []byte("secret")); got != c.want {
			t.Errorf("%s: %v, want %v", c.stored, got, c.want)
		}
	}
}

func FuzzCompare(f *testing.F) {
	for _, seed := range []string{"{SSHA}", "{ARGON2}$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ", "{", "}", "{SHA512}////", argon([]byte("x"))} {
		f.Add(seed, "value")
	}
	f.Fuzz(func(t *testing.T, stored, value string) {
		if compare(stored, []byte(value)) != fits {
			return
		}
		if compare(stored, []byte(value+"x")) == fits {
			t.Errorf("%q fits %q and more", stored, value)
		}
	})
}

func TestUnicodePwd(t *testing.T) {
	// MS-ADTS 3.1.1.3.1.5: the value is "newPassword" with its quotes, two bytes a character.
	if got, want := unicodePwd([]byte("nö")), "\"\x00n\x00\xf6\x00\"\x00"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
