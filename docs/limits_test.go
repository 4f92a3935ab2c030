package docs

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// limits are the rows of the page whose numbers stand in the code: where the constant is, and how the row begins.
var limits = []struct{ dir, constant, row string }{
	{"internal/server", "DefaultMaxConnections", "open connections"},
	{"internal/server", "DefaultMaxBodyMemory", "bytes of the bodies of all requests"},
	{"internal/door/native", "maxLargeBody", "body of a request to set a secret"},
	{"internal/door/native", "maxSmallBody", "body of a request to change attributes"},
	{"internal/door/azure", "maxUpdateBody", "body of a request to change attributes"},
	{"internal/door/azure", "maxKeyBody", "body that makes or imports a key"},
	{"internal/door/azure", "maxUseBody", "body of a use of a key"},
	{"internal/door/azure", "maxCertificateBody", "body that makes a certificate"},
	{"internal/door/azure", "maxImportBody", "body that imports or merges"},
	{"internal/object", "DefaultMaxBackupBytes", "body of a restore"},
	{"internal/door/azure/arm", "maxBody", "body of a management request"},
	{"internal/door/oauth", "maxForm", "body of a token request"},
	{"internal/door/oauth", "maxFields", "body of a token request"},
	{"internal/door/azure", "maxResults", "entries in a page"},
	{"internal/door/native", "maxPage", "entries in a page"},
	{"internal/feed", "DefaultMaxStreams", "streams of changes"},
	{"internal/feed", "MaxNames", "secrets that one stream names"},
	{"internal/object", "maxBackupVersions", "versions in a backup"},
	{"internal/vault", "MaxNameBytes", "name of an object"},
	{"internal/vault", "MaxTags", "tags of a version"},
	{"internal/vault", "MaxTagBytes", "tags of a version"},
	{"internal/key", "maxTagBytes", "tags of a version"},
	{"internal/composition", "MaxTemplateBytes", "template of a composed secret"},
	{"internal/composition", "MaxParts", "template of a composed secret"},
	{"internal/key", "MaxRandomBytes", "random bytes"},
	{"internal/key", "maxReleasePolicyBytes", "release policy"},
	{"internal/key", "maxTargetBytes", "attestation"},
	{"internal/certfile", "MaxFileBytes", "PFX or PEM file"},
	{"internal/certfile", "MaxCertificates", "PFX or PEM file"},
	{"internal/issuer/external", "maxMerged", "certificates in a merge"},
	{"internal/cert", "maxAlternatives", "alternative names"},
	{"internal/cert", "maxMonths", "validity of a certificate"},
	{"internal/cert", "maxOptions", "settings of a certificate issuer"},
	{"internal/cert", "maxOptionBytes", "settings of a certificate issuer"},
	{"internal/cert", "maxPeople", "administrators of an issuer"},
	{"internal/server", "maxAddresses", "vaults with an"},
	{"internal/rotation", "DefaultMostLeases", "leases of one policy"},
	{"internal/rotation", "MostLeases", "leases of one policy"},
	{"internal/identity", "maxCredentials", "credentials of a principal"},
	{"internal/identity", "maxGroups", "groups that a principal"},
	{"internal/identity", "mostGroupClaims", "groups that a token"},
	{"internal/identity", "minPassword", "password of a person"},
	{"internal/identity", "maxPassword", "password of a person"},
	{"internal/vault", "MaxAccessPolicies", "access policies"},
	{"internal/vault", "MaxAddressRules", "address rules"},
	{"internal/vault", "MaxSubnetRules", "address rules"},
	{"internal/authz", "MaxRolePatterns", "patterns of a custom role"},
	{"internal/tenancy", "maxTags", "tags of a vault"},
	{"internal/identity", "maxIssuerBytes", "answer of an outside issuer"},
	{"internal/server", "mostSecretBytes", "value of a secret"},
	{"internal/door/native", "maxWait", "seconds for which a stream"},
	{"internal/door/native", "maxRunWait", "seconds for which a stream"},
	{"internal/door/odata", "maxFilterBytes", "filter of a list"},
	{"internal/door/azure/graph", "maxIDs", "ids in one look-up"},
	{"internal/endpoint", "MaxPerVault", "endpoints of a vault"},
	{"internal/endpoint", "maxCABytes", "certificates that an endpoint trusts"},
	{"internal/endpoint", "maxReminders", "reminders of an endpoint"},
	{"internal/endpoint", "maxWhoBytes", "reminders of an endpoint"},
	{"internal/endpoint", "minWithin", "time in which the alarms"},
	{"internal/endpoint", "maxWithin", "time in which the alarms"},
	{"internal/issuer", "minRSABits", "RSA key that is certified"},
	{"internal/issuer", "maxRSABits", "RSA key that is certified"},
	{"internal/vault", "MaxContentTypeBytes", "content type"},
	{"internal/vault", "MinRetentionDays", "days for which what is deleted"},
	{"internal/vault", "MaxRetentionDays", "days for which what is deleted"},
	{"internal/vault", "MaxStaleFor", "staleness at which"},
	{"internal/vault", "MinBackupDays", "days that a customer's key"},
	{"internal/vault", "MaxBackupDays", "days that a customer's key"},
	{"internal/tenancy", "maxProtectors", "vaults of which each"},
	{"internal/tenancy", "maxHolds", "[holds]"},
	{"internal/tenancy", "maxHoldReason", "reason of a hold"},
	{"internal/key", "minRotation", "rotation of a key"},
	{"internal/key", "minExpiry", "rotation of a key"},
	{"internal/key", "maxReleaseTerms", "release policy"},
	{"internal/key", "maxReleaseDepth", "release policy"},
	{"internal/key", "maxNonceBytes", "attestation"},
	{"internal/certfile", "maxBags", "PFX or PEM file"},
	{"internal/certfile", "MaxIterations", "PFX or PEM file"},
	{"internal/certfile", "minJKSPassword", "password of a Java"},
	{"internal/cert", "maxText", "text of an issuer"},
	{"internal/cert", "maxSpan", "vaults over which"},
	{"internal/enrolment", "maxEntries", "names, domains and networks"},
	{"internal/enrolment", "mostDays", "names, domains and networks"},
	{"internal/rotation", "MinValueLength", "value that a policy"},
	{"internal/rotation", "MaxValueLength", "value that a policy"},
	{"internal/rotation", "MinAlphabet", "value that a policy"},
	{"internal/rotation", "maxDependencies", "secrets that one waits for"},
	{"internal/rotation", "maxTextBytes", "note of an order"},
	{"internal/rotation", "MinLease", "life of a [lease]"},
	{"internal/rotation", "MaxLease", "life of a [lease]"},
	{"internal/rollout", "MaxRings", "rings of a rollout"},
	{"internal/rollout", "MaxNames", "rings of a rollout"},
	{"internal/ledger", "MinPoll", "poll interval"},
	{"internal/ledger", "MaxPoll", "poll interval"},
	{"internal/ledger", "MaxWhy", "reason for which a holder"},
	{"internal/ledger", "maxPlace", "place to which a copy"},
	{"internal/identity", "maxAssertionLife", "life of an application's assertion"},
	{"internal/identity", "maxTokenBytes", "access token, assertion"},
	{"internal/identity", "MaxEnrolmentLife", "life of an enrolment"},
	{"internal/identity", "maxNameBytes", "name of a principal"},
	{"internal/door/oauth", "maxNonce", "nonce of a sign-in"},
	{"internal/tenancy", "maxDisplayNameBytes", "name of a principal"},
	{"internal/tenancy", "maxResourceNameBytes", "name of a managed identity"},
	{"internal/tenancy", "maxTagNameBytes", "tags of a vault"},
	{"internal/tenancy", "maxTagValueBytes", "tags of a vault"},
	{"internal/access", "maxDescriptionBytes", "description of a role assignment"},
	{"internal/event", "maxNameBytes", "name of a subscription"},
	{"internal/event", "maxAttempts", "attempts at one"},
	{"internal/event", "minTTL", "time for which a delivery"},
	{"internal/event", "maxTTL", "time for which a delivery"},
	{"internal/event", "maxConcurrency", "deliveries of one subscription"},
	{"internal/event", "maxTypes", "types that a filter"},
	{"internal/event", "maxHeaders", "headers that are sent"},
	{"internal/event", "maxCABytes", "CA of an endpoint"},
	{"internal/seal/shamir", "MinThreshold", "shares of a key"},
	{"internal/seal/shamir", "MaxShares", "shares of a key"},
	{"internal/seal/shamir", "DefaultPace", "pause after shares"},
	{"internal/seal/passphrase", "MinBytes", "passphrase"},
	{"internal/seal/passphrase", "MaxBytes", "passphrase"},
	{"internal/seal/pkcs11", "maxNameBytes", "name of a key in a token"},
	{"internal/token/pkcs11", "maxPINBytes", "file with the PIN"},
	{"internal/backup/full", "leastEvery", "time between two backups"},
	{"internal/backup/full", "leastKeep", "time for which a backup"},
	{"internal/backup/full", "DefaultKeep", "time for which a backup"},
	{"internal/door/native", "maxKeepHours", "time for which one backup"},
	{"internal/backup", "jobsAtOnce", "[copies and restores of vaults]"},
	{"internal/backup", "maxManifestBytes", "manifest of a copy"},
	{"internal/backup", "maxObjectBytes", "manifest of a copy"},
	{"internal/config", "maxFileBytes", "configuration |"},
	{"internal/server", "maxPairFile", "certificate and key that a listener"},
	{"internal/audit/archive", "LeastKept", "time for which shipped parts"},
	{"internal/config", "leastShipped", "time for which shipped parts"},
	{"internal/door/acme", "maxIdentifiers", "names in an order"},
	{"internal/door/acme", "maxBody", "body of a request |"},
}

// inside are limits that a message tells, and that nobody meets who asks a server or sets it up.
var inside = map[string]string{
	"internal/audit.maxID":                  "ids that the program itself makes",
	"internal/cli.maxUse":                   "keeps a mistaken file out of memory; a server takes less",
	"internal/cli.maxValue":                 "keeps a mistaken file out of memory; a server takes less",
	"internal/cryptokey.maxExponent":        "what the arithmetic computes with",
	"internal/cryptokey.maxWrapBytes":       "far beyond the largest body of a request",
	"internal/certfile.maxBERDepth":         "the shape of a file, which is within its own limit",
	"internal/door.maxParams":               "the program's own routes",
	"internal/endpoint.maxChain":            "what an endpoint presents, which is told of it and not refused",
	"internal/identity.MinTokenLifetime":    "set by the program alone",
	"internal/identity.MaxTokenLifetime":    "set by the program alone",
	"internal/identity.minKeyLifetime":      "set by the program alone",
	"internal/seal/passphrase.minPasses":    "set by the program alone",
	"internal/seal/passphrase.maxPasses":    "set by the program alone",
	"internal/seal/passphrase.minMemoryKiB": "set by the program alone",
	"internal/seal/passphrase.maxMemoryKiB": "set by the program alone",
	"internal/seal/passphrase.minLanes":     "set by the program alone",
	"internal/seal/passphrase.maxLanes":     "set by the program alone",
	"internal/server.mostDays":              "a setting of one kind of issuer, which issuers.md explains",
}

func TestLimitsAreThoseOfTheCode(t *testing.T) {
	const doc = "docs/operations/limits.md"
	p := readPage(t, doc)
	for _, l := range limits {
		n, span := number(t, l.dir, l.constant)
		rows := 0
		p.prose(func(line int, text string) {
			if !strings.HasPrefix(text, "| "+l.row) {
				return
			}
			rows++
			for _, form := range forms(n, span) {
				if strings.Contains(text, form) {
					return
				}
			}
			t.Errorf("%s:%d says nothing of %d, which is %s in %s: %s", doc, line, n, l.constant, l.dir, text)
		})
		if rows != 1 {
			t.Errorf("%s has %d rows that begin with %q", doc, rows, l.row)
		}
	}
}

// A limit is a constant by its name.
var limitName = regexp.MustCompile(`^(Default)?(max|Max|min|Min|most|Most|least|Least)[A-Z]`)

// TestEveryLimitThatIsToldIsOnThePage finds the limits of which messages tell: constants among the values of a call that formats a sentence. Rotators have pages of their own.
func TestEveryLimitThatIsToldIsOnThePage(t *testing.T) {
	listed := map[string]bool{}
	for _, l := range limits {
		listed[l.dir+"."+l.constant] = true
	}
	all := constants(t)
	found := map[string]bool{}
	for dir, p := range all {
		if strings.HasPrefix(dir, "internal/rotator/") || strings.HasSuffix(dir, "test") {
			continue
		}
		for _, file := range p.files {
			told(file, dir, func(in, name string) {
				if _, known := all[in]; known && all[in].values[name] != nil && limitName.MatchString(name) {
					found[in+"."+name] = true
				}
			})
		}
	}
	if len(found) < 40 {
		t.Fatalf("only %d limits were found in messages: the test looks in the wrong place", len(found))
	}
	for name := range found {
		if !listed[name] && inside[name] == "" {
			t.Errorf("a message tells of %s: give it a row in docs/operations/limits.md and in the list of this test", name)
		}
	}
	for name := range inside {
		if !found[name] || listed[name] {
			t.Errorf("%s is told in no message, or has a row: take it from the list of exceptions", name)
		}
	}
}

// told calls f with the package and the name of what a file gives to calls that format: those with a text that holds a "%" among their arguments.
func told(file *ast.File, dir string, f func(in, name string)) {
	imports := map[string]string{}
	for _, i := range file.Imports {
		if rest, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), "github.com/keywright/keywright/"); ok {
			imports[path.Base(rest)] = rest
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !slices.ContainsFunc(call.Args, func(e ast.Expr) (found bool) {
			texts(e, func(s string) { found = found || strings.Contains(s, "%") })
			return found
		}) {
			return true
		}
		for _, arg := range call.Args {
			ast.Inspect(arg, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && imports[x.Name] != "" {
						f(imports[x.Name], n.Sel.Name)
					}
					return false
				case *ast.Ident:
					f(dir, n.Name)
				}
				return true
			})
		}
		return true
	})
}

// code is what the files of one package declare as constants.
type code struct {
	files  []*ast.File
	values map[string]ast.Expr
}

// constants reads every package below internal, by its directory.
var constants = func() func(*testing.T) map[string]*code {
	var once sync.Once
	all := map[string]*code{}
	return func(t *testing.T) map[string]*code {
		t.Helper()
		once.Do(func() {
			err := filepath.WalkDir(filepath.Join(root, "internal"), func(name string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
					return err
				}
				file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
				if err != nil {
					return err
				}
				dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(name)), root+"/")
				if all[dir] == nil {
					all[dir] = &code{values: map[string]ast.Expr{}}
				}
				all[dir].add(file)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		return all
	}
}()

func (c *code) add(file *ast.File) {
	c.files = append(c.files, file)
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			for i := range v.Values {
				c.values[v.Names[i].Name] = v.Values[i]
			}
		}
	}
}

// number is the value of a constant of a package, and whether it is a time, in nanoseconds.
func number(t *testing.T, dir, name string) (n int64, span bool) {
	t.Helper()
	p := constants(t)[dir]
	if p == nil || p.values[name] == nil {
		t.Errorf("%s has no constant %s: the list names what is not there", dir, name)
		return 0, false
	}
	v, span := evaluate(t, p, p.values[name])
	n, exact := constant.Int64Val(v)
	if !exact {
		t.Fatalf("%s in %s is no whole number", name, dir)
	}
	return n, span
}

// evaluate computes an expression of numbers, times and constants of the same package.
func evaluate(t *testing.T, p *code, e ast.Expr) (v constant.Value, span bool) {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(e.Value, e.Kind, 0), false
	case *ast.ParenExpr:
		return evaluate(t, p, e.X)
	case *ast.CallExpr: // a conversion
		if len(e.Args) == 1 {
			return evaluate(t, p, e.Args[0])
		}
	case *ast.Ident:
		if p.values[e.Name] != nil {
			return evaluate(t, p, p.values[e.Name])
		}
	case *ast.SelectorExpr:
		if d, ok := durations[e.Sel.Name]; ok {
			return constant.MakeInt64(int64(d)), true
		}
	case *ast.BinaryExpr:
		x, xs := evaluate(t, p, e.X)
		y, ys := evaluate(t, p, e.Y)
		if e.Op != token.SHL {
			return constant.BinaryOp(x, e.Op, y), xs || ys
		}
		by, _ := constant.Uint64Val(y)
		return constant.Shift(x, e.Op, uint(by)), xs
	}
	t.Fatalf("a limit is an expression of the kind %T, which this test does not compute", e)
	return nil, false
}

// durations are the units of package time.
var durations = map[string]time.Duration{"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}

// forms are the ways to write a number on the page, with what must not be a part of a longer number around it.
func forms(n int64, span bool) (list []string) {
	var words []string
	if span {
		for unit, size := range map[string]time.Duration{"s": time.Second, "seconds": time.Second, "minute": time.Minute, "minutes": time.Minute, "h": time.Hour, "hour": time.Hour,
			"hours": time.Hour, "days": 24 * time.Hour, "week": 7 * 24 * time.Hour} {
			if n%int64(size) == 0 {
				words = append(words, fmt.Sprintf("%d %s", n/int64(size), unit))
			}
		}
	} else {
		words = append(words, fmt.Sprint(n), thousands(n))
		for unit, size := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20} {
			if n%size == 0 {
				words = append(words, fmt.Sprintf("%d %s", n/size, unit))
			}
		}
	}
	for _, w := range words {
		for _, behind := range []string{" ", ",", ";", ")"} {
			list = append(list, " "+w+behind)
		}
	}
	return list
}

// thousands writes a number with commas.
func thousands(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
