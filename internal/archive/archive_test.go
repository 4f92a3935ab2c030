package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/keywright/keywright/internal/archive"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/store"
)

const id = "0123456789abcdef0123456789abcdef"

// rows is a dump of three tables.
type rows struct{ n int }

func (r rows) Dump(_ context.Context, to store.Sink) error {
	for _, t := range []*store.Table{{Name: "a", Columns: []string{"x", "y"}}, {Name: "b", Columns: []string{"z"}}, {Name: "c", Columns: []string{"z"}}} {
		if err := to.Table(t); err != nil {
			return err
		}
		if t.Name == "b" {
			continue
		}
		for i := range r.n {
			row := []any{int64(-i), noise(i)}
			if t.Name == "c" {
				row = []any{fmt.Sprintf("täxt %d", i)}
			}
			if i%11 == 3 {
				row[0] = nil
			}
			if err := to.Row(row); err != nil {
				return err
			}
		}
	}
	return nil
}

// noise is bytes that do not get smaller.
func noise(n int) []byte {
	all := []byte{}
	for len(all) < n%2000 {
		sum := sha256.Sum256(fmt.Append(nil, n, len(all)))
		all = append(all, sum[:]...)
	}
	return all
}

// lines is a sink that keeps what it is given.
type lines []string

func (l *lines) Table(t *store.Table) error { *l = append(*l, fmt.Sprint(*t)); return nil }
func (l *lines) Row(values []any) error     { *l = append(*l, fmt.Sprintf("%#v", values)); return nil }

func newSeal(t *testing.T) seal.Seal {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seal.key")
	if err := keyfile.Create(path); err != nil {
		t.Fatal(err)
	}
	s, err := keyfile.New(keyfile.Config{Files: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newIdentity(t *testing.T) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func write(t *testing.T, n int, recipients ...age.Recipient) ([]byte, *archive.End) {
	t.Helper()
	var out bytes.Buffer
	end, err := archive.Write(t.Context(), &out, archive.Header{ID: id, Made: time.Unix(1, 0).UTC(), Release: "test", Engine: "none"}, rows{n}, recipients, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), end
}

func read(ctx context.Context, file []byte, identities ...age.Identity) (*archive.Reader, lines, error) {
	r, err := archive.Open(bytes.NewReader(file), identities...)
	if err != nil {
		return nil, nil, err
	}
	var got lines
	return r, got, func() error { err := r.Each(ctx, &got); return err }()
}

func TestRoundTrip(t *testing.T) {
	s, offline := newSeal(t), newIdentity(t)
	file, end := write(t, 1000, offline.Recipient(), &archive.Sealed{Ctx: t.Context(), Seal: s, ID: id})
	var want lines
	if err := (rows{1000}).Dump(t.Context(), &want); err != nil {
		t.Fatal(err)
	}
	unsealing := func() age.Identity { return &archive.Unsealing{Ctx: t.Context(), Seal: s} }
	for name, identities := range map[string][]age.Identity{"offline": {offline}, "seal": {unsealing()}, "both": {offline, unsealing()},
		"another seal": {&archive.Unsealing{Ctx: t.Context(), Seal: newSeal(t)}, offline}} {
		r, err := archive.Open(bytes.NewReader(file), identities...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := name == "seal" || name == "both"; r.Sealed != want {
			t.Errorf("%s: whether the seal opened it: %v, want %v", name, r.Sealed, want)
		}
		if r.Header.ID != id || r.Header.Engine != "none" || r.Header.Format != archive.Version {
			t.Errorf("%s: the header is %+v", name, r.Header)
		}
		var got lines
		if err := r.Each(t.Context(), &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: other rows were read than were written", name)
		}
		if !slices.Equal(r.End().Tables, end.Tables) || end.Rows() != 2000 {
			t.Errorf("%s: the end is %+v, the writer's %+v", name, r.End(), end)
		}
	}
	if bytes.Contains(file, []byte("täxt")) {
		t.Error("the file is in clear")
	}
}

// The digest of a table does not depend on the order of its rows, and on everything else.
func TestDigests(t *testing.T) {
	_, a := write(t, 10, newIdentity(t).Recipient())
	_, b := write(t, 10, newIdentity(t).Recipient())
	_, c := write(t, 11, newIdentity(t).Recipient())
	if !slices.Equal(a.Tables, b.Tables) || a.Tables[0] == c.Tables[0] || a.Tables[0].Digest == a.Tables[2].Digest {
		t.Errorf("digests: %+v, %+v, %+v", a, b, c)
	}
}

func TestStrangersOpenNothing(t *testing.T) {
	s := newSeal(t)
	file, _ := write(t, 3, newIdentity(t).Recipient(), &archive.Sealed{Ctx: t.Context(), Seal: s, ID: id})
	for name, identity := range map[string]age.Identity{"identity": newIdentity(t), "seal": &archive.Unsealing{Ctx: t.Context(), Seal: newSeal(t)}} {
		_, _, err := read(t.Context(), file, identity)
		if f := fault.As(err); f == nil || f.Reason != archive.NotOpened {
			t.Errorf("another %s: %v, want NotOpened", name, err)
		}
	}
	away, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := read(t.Context(), file, &archive.Unsealing{Ctx: away, Seal: s}); !errors.Is(err, context.Canceled) {
		t.Errorf("a seal that is away: %v", err)
	}
}

// A file that was cut, changed or put together anew is found out, wherever that was done.
func TestDamageIsFound(t *testing.T) {
	identity := newIdentity(t)
	file, _ := write(t, 800, identity.Recipient())
	if len(file) < 4*64<<10 {
		t.Fatalf("the file has %d bytes: too few chunks to exchange", len(file))
	}
	const chunk = 64<<10 + 16
	body := len(file) % chunk // more or less the header; the exact place does not matter
	swapped := slices.Concat(file[:body], file[body+chunk:body+2*chunk], file[body:body+chunk], file[body+2*chunk:])
	cases := map[string][]byte{"chunks exchanged": swapped, "something behind": append(slices.Clone(file), 0), "empty": nil, "text": []byte("hello\n")}
	for i := 1; i <= 12; i++ {
		at := len(file) * i / 13
		cases[fmt.Sprintf("cut at %d", at)] = file[:at]
		flipped := slices.Clone(file)
		flipped[at] ^= 1
		cases[fmt.Sprintf("changed at %d", at)] = flipped
	}
	cases["cut by one byte"] = file[:len(file)-1]
	for name, bad := range cases {
		if _, _, err := read(t.Context(), bad, identity); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

// A stream that ends in order between two rows, as no writer of ours ends one, is not whole either.
func TestForgedStreams(t *testing.T) {
	identity := newIdentity(t)
	head := `{"format":1,"id":"` + id + `"}`
	frame := func(k byte, payload string) string { return string([]byte{k, byte(len(payload))}) + payload }
	table := frame('T', `{"name":"a","columns":["x"]}`)
	row := frame('R', "\x01\x02")
	sums := func(n int) string {
		return frame('E', `{"tables":[{"name":"a","rows":`+fmt.Sprint(n)+`}]}`)
	}
	for name, stream := range map[string]string{
		"nothing": "", "no header": table, "no end": frame('H', head) + table + row, "row without a table": frame('H', head) + row,
		"other sums": frame('H', head) + table + row + sums(2), "tables twice": frame('H', head) + table + table, "newer": frame('H', `{"format":2}`),
		"unknown frame": frame('H', head) + frame('X', ""), "no id": frame('H', `{"format":1}`), "unsorted columns": frame('H', head) + frame('T', `{"name":"a","columns":["y","x"]}`),
		"row too long": frame('H', head) + table + frame('R', "\x01\x02\x00"), "row too short": frame('H', head) + table + frame('R', ""),
		"bad tag": frame('H', head) + table + frame('R', "\x09"), "bad text": frame('H', head) + table + frame('R', "\x02\x01\xff"),
	} {
		if _, _, err := read(t.Context(), pack(t, stream, identity.Recipient()), identity); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

func TestWriteRefusesWhatNoEngineMayGive(t *testing.T) {
	for _, v := range []any{1, "\xff", time.Now()} {
		_, err := archive.Write(t.Context(), io.Discard, archive.Header{ID: id}, one{v}, []age.Recipient{newIdentity(t).Recipient()}, nil)
		if err == nil || !strings.Contains(err.Error(), "the table a") {
			t.Errorf("%T: %v, want an error that names the table", v, err)
		}
	}
}

type one struct{ v any }

func (o one) Dump(_ context.Context, to store.Sink) error {
	return errors.Join(to.Table(&store.Table{Name: "a", Columns: []string{"x"}}), to.Row([]any{o.v}))
}

func TestRecipientsAndIdentities(t *testing.T) {
	identity := newIdentity(t)
	if r, err := archive.ParseRecipients([]string{" " + identity.Recipient().String() + "\n"}); err != nil || len(r) != 1 {
		t.Errorf("ParseRecipients: %v, %v", r, err)
	}
	if _, err := archive.ParseRecipients([]string{"age1nonsense"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("ParseRecipients: %v, want Invalid", err)
	}
	if ids, err := archive.ParseIdentities([]byte("# mine\n" + identity.String() + "\n")); err != nil || len(ids) != 1 {
		t.Errorf("ParseIdentities: %v, %v", ids, err)
	}
	secret := "AGE-SECRET-KEY-1" + strings.Repeat("Q", 40)
	if _, err := archive.ParseIdentities([]byte(secret)); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), secret) {
		t.Errorf("ParseIdentities: %v, want an Invalid without what was in the file", err)
	}
}

// Somebody who names the wrong file is not shown what is in it.
func TestAnotherFileIsNotShown(t *testing.T) {
	for _, content := range []string{"", "AGE-SECRET-KEY-1CANARY", "age-encryption.org/v2\nCANARY\n"} {
		_, err := archive.Open(strings.NewReader(content), newIdentity(t))
		if !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("a file with the content %q: %v", content, err)
		}
	}
}
