package identity_test

import (
	"flag"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/redact"
)

// TestRefreshFamilies moves families of refresh tokens at random and compares with a model: the newest token works, the one before
// it for ten seconds, and any older ends the family.
func TestRefreshFamilies(t *testing.T) {
	w := newWorld(t)
	w.roams = true
	_, code := w.user("ada@example.org")
	who, err := w.person("ada@example.org", code())
	w.must(err)
	type model struct {
		chain   []redact.String
		access  []redact.String
		rotated time.Time
		ended   bool
	}
	rapid.Check(t, func(rt *rapid.T) {
		var families []*model
		pick := func() *model { return families[rapid.IntRange(0, len(families)-1).Draw(rt, "family")] }
		start := func(*rapid.T) {
			token := w.signInPerson(who)
			families = append(families, &model{chain: []redact.String{token.Refresh}, access: []redact.String{token.Access}, rotated: w.clock.Now()})
		}
		start(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"start": start,
			"wait": func(rt *rapid.T) {
				w.clock.Advance(time.Duration(rapid.IntRange(1, 15).Draw(rt, "seconds")) * time.Second)
			},
			"refresh": func(rt *rapid.T) {
				f := pick()
				i := rapid.IntRange(max(0, len(f.chain)-3), len(f.chain)-1).Draw(rt, "generation")
				token, err := w.refresh(f.chain[i])
				age := len(f.chain) - 1 - i
				switch {
				case f.ended:
					wantReason(rt, err, identity.WrongGrant)
				case age == 0:
					wantReason(rt, err, "")
					f.chain, f.access, f.rotated = append(f.chain, token.Refresh), append(f.access, token.Access), w.clock.Now()
				case age == 1 && w.clock.Now().Sub(f.rotated) <= 10*time.Second:
					wantReason(rt, err, "")
					if token.Refresh != f.chain[len(f.chain)-1] {
						rt.Fatal("the repeated refresh gave another token")
					}
				default:
					wantReason(rt, err, identity.ReusedGrant)
					f.ended = true
				}
			},
			"": func(rt *rapid.T) {
				f := pick()
				_, err := w.svc.Authenticate(w.ctx, f.access[len(f.access)-1].Reveal(), w.vaults)
				if f.ended != (err != nil) {
					rt.Fatalf("ended %v, but authenticating gave %v", f.ended, err)
				}
			},
		})
	})
}

// TestDeviceCodes decides and polls at random: a code gives tokens once, to the person who allowed it, and to nobody after a
// refusal or its end.
func TestDeviceCodes(t *testing.T) {
	w := newWorld(t)
	w.roams = true
	user, code := w.user("ada@example.org")
	who, err := w.person("ada@example.org", code())
	w.must(err)
	type model struct {
		device   *identity.Device
		ends     time.Time
		decision string // allowed, refused, spent
	}
	rapid.Check(t, func(rt *rapid.T) {
		var codes []*model
		start := func(*rapid.T) {
			codes = append(codes, &model{device: w.device(), ends: w.clock.Now().Add(15 * time.Minute)})
		}
		start(rt)
		pick := func() *model { return codes[rapid.IntRange(0, len(codes)-1).Draw(rt, "code")] }
		over := func(m *model) bool { return !w.clock.Now().Before(m.ends) }
		rt.Repeat(map[string]func(*rapid.T){
			"start": start,
			"wait": func(rt *rapid.T) {
				w.clock.Advance(time.Duration(rapid.IntRange(1, 400).Draw(rt, "seconds")) * time.Second)
			},
			"decide": func(rt *rapid.T) {
				m, allow := pick(), rapid.Bool().Draw(rt, "allow")
				err := w.svc.DecideDevice(w.ctx, w.tenant, m.device.UserCode.Reveal(), who, allow)
				if m.decision != "" || over(m) {
					wantReason(rt, err, identity.WrongCode)
					return
				}
				wantReason(rt, err, "")
				m.decision = map[bool]string{true: "allowed", false: "refused"}[allow]
			},
			"poll": func(rt *rapid.T) {
				m := pick()
				token, err := w.poll(m.device)
				got := fault.Reason("")
				if f := fault.As(err); f != nil {
					got = f.Reason
				}
				switch {
				case m.decision == "spent" || w.clock.Now().Sub(m.ends) >= 5*time.Minute:
					wantReason(rt, err, identity.WrongCode)
				case over(m):
					wantReason(rt, err, identity.CodeExpired)
				case m.decision == "allowed":
					wantReason(rt, err, "")
					if token.Principal != user.ID {
						rt.Fatal("the token is somebody else's")
					}
					m.decision = "spent"
				case m.decision == "refused":
					wantReason(rt, err, identity.CodeDeclined)
				case got != identity.AuthorizationPending && got != identity.SlowDown:
					rt.Fatalf("pending: %v", err)
				}
			},
		})
	})
}

func wantReason(t *rapid.T, err error, want fault.Reason) {
	var got fault.Reason
	if f := fault.As(err); f != nil {
		got = f.Reason
	}
	if got != want || want == "" && err != nil {
		t.Fatalf("got %v (reason %q), want reason %q", err, got, want)
	}
}

// TestMain runs fewer histories than rapid's hundred, each of which signs many tokens, unless the flag says how many.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", "20"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
