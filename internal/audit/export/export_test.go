package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/keywright/keywright/internal/audit"
)

var update = flag.Bool("update", false, "write the golden files")

func samples() []*audit.Record {
	at := time.Date(2026, 11, 22, 8, 9, 10, 123456000, time.UTC)
	return []*audit.Record{
		{Time: at, ID: audit.ID{1, 2}, Node: "node-1", Tenant: "t1", VaultID: "v1", VaultName: "demo", Door: "azure",
			Action: "Microsoft.KeyVault/vaults/secrets/getSecret/action", Operation: "SecretGet", Caller: audit.Caller{PrincipalID: "p1", AppID: "a1", UPN: "ada@example.org", Kind: "user", Tenant: "t1"},
			ClientAddress: netip.MustParseAddr("192.0.2.7"), Instance: "pod-1", ObjectKind: "secret", ObjectName: "db",
			Version: "0123456789abcdef0123456789abcdef", Outcome: audit.Allowed, Status: 200, CorrelationID: "c1",
			ClientRequestID: "r1", APIVersion: "7.6", UserAgent: "azsdk-go-azsecrets/v1.5", Path: "/secrets/db/", Duration: 1500 * time.Microsecond},
		{Time: at.Add(time.Second), ID: audit.ID{3}, Node: "node-1", Tenant: "t1", VaultName: "demo", Door: "azure",
			Action: "SecretSet", ClientAddress: netip.MustParseAddr("2001:db8::7"), ObjectKind: "secret", ObjectName: "db",
			Outcome: audit.Denied, Reason: "ForbiddenByRbac", Status: 403, CorrelationID: "c2",
			UserAgent: "evil\"] |=\\\n<13>1 forged\r\u2028x\xff", Path: "/secrets/a b=c|d\\"},
		{Time: at.Add(2 * time.Second), ID: audit.ID{4}, Node: "node 1", VaultName: "demo", Action: "Authentication", Outcome: audit.Denied,
			Reason: "NoToken", Status: 401, ClientAddress: netip.MustParseAddr("192.0.2.0"), ClientBits: 24, Count: 12},
		{Time: at.Add(3 * time.Second), ID: audit.ID{6}, Node: "node-1", Tenant: "t1", Door: "azure", Action: "Microsoft.KeyVault/vaults/write",
			Operation: "VaultPut", Scope: "/subscriptions/s/resourceGroups/dev", Outcome: audit.Allowed, Status: 201, CorrelationID: "c3"},
		{Time: at.Add(4 * time.Second), ID: audit.ID{7}, Node: "node-1", Tenant: "t1", VaultName: "demo", Door: "azure", Operation: "SecretSet",
			ObjectKind: "secret", ObjectName: "db", Outcome: audit.Unknown, Reason: "unavailable", Status: 503, CorrelationID: "c4"},
		{Time: at.Add(3 * time.Second), ID: audit.ID{5}, Tenant: "t2", Index: 4, Shredded: true},
	}
}

func sequence(records []*audit.Record, err error) iter.Seq2[*audit.Record, error] {
	return func(yield func(*audit.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

func resource(r *audit.Record) (string, error) {
	if r.VaultID == "" {
		return "", nil
	}
	return "/subscriptions/s/resourceGroups/dev/providers/Microsoft.KeyVault/vaults/" + r.VaultName, nil
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got\n%s", path, got)
	}
}

func TestGolden(t *testing.T) {
	var b bytes.Buffer
	if err := Azure(&b, sequence(samples(), nil), resource); err != nil {
		t.Fatal(err)
	}
	var document struct{ Records []map[string]any }
	if err := json.Unmarshal(b.Bytes(), &document); err != nil || len(document.Records) != len(samples()) {
		t.Fatalf("%d records, %v", len(document.Records), err)
	}
	golden(t, "azure.json", b.Bytes())

	var ocsf, cef, syslog []byte
	for _, r := range samples() {
		var err error
		if ocsf, err = AppendOCSF(ocsf, r); err != nil {
			t.Fatal(err)
		}
		ocsf = append(ocsf, '\n')
		cef = append(AppendCEF(cef, r), '\n')
		syslog = append(AppendRFC5424(syslog, r), '\n')
	}
	golden(t, "ocsf.jsonl", ocsf)
	golden(t, "cef.txt", cef)
	golden(t, "rfc5424.txt", syslog)
}

func TestAzureWithoutRecordsAndWithAnError(t *testing.T) {
	var b bytes.Buffer
	if err := Azure(&b, sequence(nil, nil), resource); err != nil || b.String() != "{\"records\":[]}\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	broken := errors.New("broken")
	if err := Azure(&b, sequence(samples(), broken), resource); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

var (
	cefLine    = regexp.MustCompile(`^CEF:0\|Keywright\|Keywright\|1\|(?:[^|\\]|\\[|\\])*\|(?:[^|\\]|\\[|\\])*\|\d\|(?: ?[A-Za-z0-9]+=(?:[^=\\]|\\[=\\nr])*)*$`)
	syslogLine = regexp.MustCompile(`^<10[0-9]|11[0-1]>1 \S+ \S+ keywright - \S{1,32} \[keywright@32473(?: [A-Za-z]+="(?:[^"\\\]]|\\["\\\]])*")*\] \x{feff}[^\n]*$`)
)

// FuzzLines puts hostile text everywhere: a record stays one line of the format's grammar, in UTF-8.
func FuzzLines(f *testing.F) {
	f.Add("a|b=c\\", "]\"\n\r", "x")
	f.Add("\u2028\u0085\x00", "\xff\xfe", `\" ] x="y`)
	f.Fuzz(func(t *testing.T, action, agent, name string) {
		r := samples()[0]
		r.Action, r.UserAgent, r.ObjectName, r.Reason, r.Node = action, agent, name, name, agent
		r.Operation, r.Scope = action, name
		cef, syslog := AppendCEF(nil, r), AppendRFC5424(nil, r)
		ocsf, err := AppendOCSF(nil, r)
		if err != nil || !json.Valid(ocsf) {
			t.Fatalf("%s: %v", ocsf, err)
		}
		for _, line := range [][]byte{cef, syslog, ocsf} {
			if !utf8.Valid(line) || bytes.ContainsAny(line, "\n\r\x00") || strings.ContainsRune(string(line), '\u0085') && !json.Valid(line) {
				t.Errorf("%q", line)
			}
		}
		if !cefLine.Match(cef) {
			t.Errorf("not CEF: %q", cef)
		}
		if !syslogLine.Match(syslog) {
			t.Errorf("not RFC 5424: %q", syslog)
		}
		var b bytes.Buffer
		if err := Azure(&b, sequence([]*audit.Record{r}, nil), resource); err != nil || !json.Valid(b.Bytes()) {
			t.Errorf("%s: %v", b.Bytes(), err)
		}
	})
}
