package docs

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/format"
	"go/token"
	"go/types"
	"strings"
	"testing"
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
}

func TestLimitsAreThoseOfTheCode(t *testing.T) {
	const path = "docs/operations/limits.md"
	p := readPage(t, path)
	for _, l := range limits {
		n := number(t, l.dir, l.constant)
		rows := 0
		p.prose(func(line int, text string) {
			if !strings.HasPrefix(text, "| "+l.row) {
				return
			}
			rows++
			for _, form := range forms(n) {
				if strings.Contains(text, form) {
					return
				}
			}
			t.Errorf("%s:%d says nothing of %d, which is %s in %s: %s", path, line, n, l.constant, l.dir, text)
		})
		if rows != 1 {
			t.Errorf("%s has %d rows that begin with %q", path, rows, l.row)
		}
	}
}

// number is the value of a constant of a package.
func number(t *testing.T, dir, name string) (n int64) {
	t.Helper()
	found := false
	sources(t, dir, func(file *ast.File) {
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i := range v.Values {
					if v.Names[i].Name == name && !found {
						n, found = evaluate(t, v.Values[i]), true
					}
				}
			}
		}
	})
	if !found {
		t.Errorf("%s has no constant %s: the list names what is not there", dir, name)
	}
	return n
}

// evaluate computes an expression of numbers alone.
func evaluate(t *testing.T, e ast.Expr) int64 {
	t.Helper()
	var text strings.Builder
	if err := format.Node(&text, token.NewFileSet(), e); err != nil {
		t.Fatal(err)
	}
	tv, err := types.Eval(token.NewFileSet(), nil, token.NoPos, text.String())
	if err != nil {
		t.Fatal(err)
	}
	n, exact := constant.Int64Val(tv.Value)
	if !exact {
		t.Fatalf("%s is no whole number", text.String())
	}
	return n
}

// forms are the ways to write a number on the page, with what must not be a part of a longer number around it.
func forms(n int64) (list []string) {
	words := []string{fmt.Sprint(n)}
	if n >= 1000 && n < 1_000_000 {
		words = append(words, fmt.Sprintf("%d,%03d", n/1000, n%1000))
	}
	for unit, size := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20} {
		if n%size == 0 {
			words = append(words, fmt.Sprintf("%d %s", n/size, unit))
		}
	}
	for _, w := range words {
		for _, behind := range []string{" ", ",", ";", ")"} {
			list = append(list, " "+w+behind)
		}
	}
	return list
}
