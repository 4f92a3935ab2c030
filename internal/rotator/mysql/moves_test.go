package mysql

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/redact"
)

// run does a move as MySQL does: a password that is set leaves the secondary place alone, unless it is retained there.
func run(p places, m move) places {
	switch {
	case m.discard:
		p.secondary = method{}
	case m.retain:
		p.secondary, p.primary = p.primary, *m.set
	default:
		p.primary = *m.set
	}
	return p
}

func accepted(p places, values []redact.Bytes) (found []string) {
	for _, v := range values {
		if p.primary.accepts(v) || p.secondary.accepts(v) {
			found = append(found, string(v))
		}
	}
	return found
}

// From whatever the places hold, the moves end with the wanted values and no other, never drop a wanted one on the way, and planned again from
// any place on the way they end the same: a change may be interrupted.
func TestMovesReachTheGoal(t *testing.T) {
	pool := []redact.Bytes{redact.Bytes("a"), redact.Bytes("b"), redact.Bytes("c"), redact.Bytes("d")}
	rapid.Check(t, func(t *rapid.T) {
		var p places
		held := rapid.SliceOfNDistinct(rapid.SampledFrom([]int{0, 1, 2, 3}), 1, 2, rapid.ID[int]).Draw(t, "held")
		p.primary = hashed(native, pool[held[0]])
		if len(held) > 1 {
			p.secondary = hashed(native, pool[held[1]])
		}
		var wanted []redact.Bytes
		var names []string
		for _, i := range rapid.SliceOfNDistinct(rapid.SampledFrom([]int{0, 1, 2, 3}), 0, 2, rapid.ID[int]).Draw(t, "wanted") {
			wanted, names = append(wanted, pool[i]), append(names, string(pool[i]))
		}
		slices.Sort(names)
		for steps, crashes := 0, 0; ; crashes++ {
			plan := moves(p, native, wanted)
			if len(wanted) == 0 && steps > 0 && len(accepted(p, pool)) == 0 {
				return // a closed row is closed anew with each call
			}
			if len(plan) == 0 {
				break
			}
			done := len(plan)
			if crashes < 3 {
				done = rapid.IntRange(1, len(plan)).Draw(t, "done before a crash")
			}
			for _, m := range plan[:done] {
				before := accepted(p, wanted)
				p = run(p, m)
				after := accepted(p, wanted)
				for _, v := range before {
					if !slices.Contains(after, v) {
						t.Fatalf("%q was accepted, is wanted, and is lost", v)
					}
				}
			}
			if steps += done; steps > 8 {
				t.Fatal("the moves do not come to an end")
			}
		}
		if got := accepted(p, pool); !slices.Equal(got, names) {
			t.Errorf("accepted are %v, wanted %v", got, names)
		}
	})
}

func TestASetIsNeverSentTwice(t *testing.T) {
	p := places{primary: hashed(native, redact.Bytes("old"))}
	goal := []redact.Bytes{redact.Bytes("new"), redact.Bytes("old")}
	for _, m := range moves(p, native, goal) {
		p = run(p, m)
	}
	if again := moves(p, native, goal); len(again) != 0 {
		t.Errorf("done already, and %d statements would be sent: the second retain kills the old password", len(again))
	}
}

func TestRestateKeepsWhatIsNoPassword(t *testing.T) {
	r := row{user: "app", host: "%", methods: []method{{plugin: "unix_socket"}, hashed(native, redact.Bytes("old"))}}
	g := goal{values: []redact.Bytes{redact.Bytes("new"), redact.Bytes("old")}}
	want := "IDENTIFIED VIA mysql_native_password USING '" + nativeHash(redact.Bytes("new")) + "' OR mysql_native_password USING '" +
		nativeHash(redact.Bytes("old")) + "' OR unix_socket"
	if got := restate(r, native, g); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	r.methods = append(r.methods, hashed(native, redact.Bytes("new")))
	if got := restate(r, native, g); got != "" {
		t.Errorf("nothing is missing and %q would be sent", got)
	}
}

func FuzzPriv(f *testing.F) {
	f.Add([]byte(`{"access":0,"plugin":"mysql_native_password","authentication_string":"*A","auth_or":[{},{"plugin":"ed25519","authentication_string":"B"}]}`))
	f.Add([]byte(`{"access":18446744073709551615}`))
	f.Add([]byte(`{"auth_or":[{"plugin":"unix_socket"},{}],"account_locked":true}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		r, err := parsePriv("app", "%", document)
		if err != nil {
			if len(r.methods) != 0 {
				t.Error("a refused document has methods")
			}
			return
		}
		if len(r.methods) == 0 || slices.ContainsFunc(r.methods, func(m method) bool { return m.plugin == "" && m.stored == "" }) {
			t.Errorf("%s: methods %v", document, r.methods)
		}
	})
}

func TestParsePrivInOrder(t *testing.T) {
	r, err := parsePriv("app", "%", []byte(`{"plugin":"p","authentication_string":"first","auth_or":[{"plugin":"unix_socket"},{}],"account_locked":true}`))
	if err != nil || !r.locked || !slices.Equal(r.methods, []method{{plugin: "unix_socket"}, {"p", "first"}}) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string][3]int{"10.11.19-MariaDB-0+deb12u1": {10, 11, 19}, "5.5.5-10.4.2-MariaDB": {10, 4, 2}, "9.7.4-2": {9, 7, 4}, "8.0.14": {8, 0, 14}, "x": {}} {
		if got := parseVersion(text); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	if s := (server{number: [3]int{8, 0, 13}}); s.atLeast(8, 0, 14) || !s.atLeast(8, 0, 13) || !s.atLeast(5, 7) || s.atLeast(8, 4) {
		t.Error("versions are not compared part by part")
	}
}

func TestAdministrativeRights(t *testing.T) {
	for line, want := range map[string]string{
		"GRANT USAGE ON *.* TO `a`@`%`":                                       "",
		"GRANT SELECT, PROCESS ON *.* TO `a`@`%`":                             "",
		"GRANT ALL PRIVILEGES ON `shop`.* TO `a`@`%`":                         "",
		"GRANT ALL PRIVILEGES ON *.* TO `a`@`%` WITH GRANT OPTION":            "ALL PRIVILEGES, GRANT OPTION",
		"GRANT SELECT, UPDATE ON *.* TO `a`@`%`":                              "UPDATE",
		"GRANT SYSTEM_USER ON *.* TO `a`@`%`":                                 "SYSTEM_USER",
		"GRANT INSERT ON `mysql`.* TO `a`@`%`":                                "changing the database mysql",
		"GRANT INSERT ON `my%`.* TO `a`@`%`":                                  "changing the database mysql",
		"GRANT SELECT (`Host`, `User`), UPDATE (`Host`) ON `mysql`.`user` TO": "changing the database mysql",
		"GRANT SELECT (`Host`, `User`) ON `mysql`.`user` TO `a`@`%`":          "",
		"GRANT SELECT ON `mysql`.* TO `a`@`%`":                                "",
		"GRANT PROXY ON ''@'%' TO 'a'@'%'":                                    "PROXY",
		"GRANT `clerk` TO `a`@`%`":                                            "",
		"SET DEFAULT ROLE `clerk` FOR `a`@`%`":                                "",
	} {
		r := rights{global: map[string]bool{}, other: map[string]bool{}}
		r.add(line)
		if got := r.administrative(); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func TestCovers(t *testing.T) {
	for pattern, want := range map[string]bool{"mysql": true, "MySQL": true, "my%": true, "m_sql": true, `my\%`: false, "shop": false, "%": true, "mysql2": false} {
		if got := covers(pattern, "mysql"); got != want {
			t.Errorf("%s: %v, want %v", pattern, got, want)
		}
	}
}
