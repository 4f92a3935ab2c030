package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/version"
)

// firstCells are the words in code type in the first cells of a page's tables.
func (p *page) firstCells() map[string][]string {
	code := regexp.MustCompile("`([^`]+)`")
	found := map[string][]string{}
	p.prose(func(_ int, line string) {
		row, ok := strings.CutPrefix(line, "| ")
		if !ok {
			return
		}
		cells := strings.Split(strings.TrimSuffix(row, " |"), " | ")
		for _, m := range code.FindAllStringSubmatch(cells[0], -1) {
			found[m[1]] = cells[1:]
		}
	})
	return found
}

// same fails unless the code and the page list the same. Nothing found in the code is a failure, too.
func same(t *testing.T, page string, code, documented []string) {
	t.Helper()
	if len(code) == 0 {
		t.Fatal("nothing was found in the code: the test looks in the wrong place")
	}
	for _, name := range code {
		if !slices.Contains(documented, name) {
			t.Errorf("%s does not explain %s", page, name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(code, name) {
			t.Errorf("%s explains %s, which is not in the code", page, name)
		}
	}
}

// sources calls f for each file of Go code below dir that is no test.
func sources(t *testing.T, dir string, f func(*ast.File)) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err == nil {
			f(file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// texts calls f with each string literal below a node.
func texts(n ast.Node, f func(string)) {
	ast.Inspect(n, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if s, err := strconv.Unquote(l.Value); err == nil {
				f(s)
			}
		}
		return true
	})
}

// withPrefix are the names in the code that begin with a prefix and go on in small letters.
func withPrefix(t *testing.T, dir, pattern string) []string {
	t.Helper()
	whole := regexp.MustCompile(`^` + pattern + `$`)
	found := map[string]bool{}
	sources(t, dir, func(file *ast.File) {
		texts(file, func(s string) {
			if whole.MatchString(s) {
				found[s] = true
			}
		})
	})
	return slices.Sorted(maps.Keys(found))
}

func TestMonitoringListsEveryMetric(t *testing.T) {
	const path = "docs/operations/monitoring.md"
	p := readPage(t, path)
	var documented []string
	for name := range p.firstCells() {
		if strings.HasPrefix(name, "keywright_") && !strings.Contains(name, " ") {
			documented = append(documented, name)
		}
	}
	same(t, path, withPrefix(t, "internal", `keywright_[a-z_]+`), documented)
}

func TestDevModeListsEveryVariable(t *testing.T) {
	const path = "docs/operations/dev-mode.md"
	p := readPage(t, path)
	var code []string
	sources(t, "internal/server", func(file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			f, ok := n.(*ast.FuncDecl)
			if !ok || f.Name.Name != "variables" {
				return true
			}
			texts(f, func(s string) {
				if regexp.MustCompile(`^[A-Z][A-Z_]+$`).MatchString(s) {
					code = append(code, s)
				}
			})
			return false
		})
	})
	var documented []string
	for name := range p.firstCells() {
		if regexp.MustCompile(`^[A-Z][A-Z_]+$`).MatchString(name) {
			documented = append(documented, name)
		}
	}
	same(t, path, code, documented)
}

func TestDevModeListsEveryFlag(t *testing.T) {
	const path = "docs/operations/dev-mode.md"
	p := readPage(t, path)
	var code, documented []string
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "cmd", "keywright", "dev.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) < 3 {
			return true
		}
		if f, ok := call.Fun.(*ast.SelectorExpr); ok && strings.HasSuffix(f.Sel.Name, "Var") {
			texts(call.Args[1], func(s string) { code = append(code, "--"+s) })
		}
		return true
	})
	for name := range p.firstCells() {
		if strings.HasPrefix(name, "--") {
			documented = append(documented, name)
		}
	}
	same(t, path, code, documented)
}

// TestRotationListsPoliciesAndStates compares the page with the members of a policy, the states of runs and the reasons for which they get stuck.
func TestRotationListsPoliciesAndStates(t *testing.T) {
	const path = "docs/operations/rotation.md"
	p := readPage(t, path)
	var members, constants []string
	sources(t, "internal/rotation", func(file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok && n.Name.Name == "Policy" {
					members = append(members, jsonMembers(s)...)
				}
			case *ast.ValueSpec:
				if kind, ok := n.Type.(*ast.Ident); ok && kind.Name == "State" && len(n.Values) == 1 {
					texts(n.Values[0], func(s string) { constants = append(constants, s) })
				}
			}
			return true
		})
	})
	if len(members) < 20 || len(constants) < 20 {
		t.Fatalf("%d members and %d states were found in the code: the test looks in the wrong place", len(members), len(constants))
	}
	var documented []string
	commands := regexp.MustCompile(`^(rotation|version|task|lease) |^[A-Z]|^(get|list|delete|show|watch|abort|replay|adopt|acknowledge|submit|done|cause|close|end|resume|renew|revoke)$`)
	for name := range p.firstCells() {
		if !commands.MatchString(name) || name == "done" {
			documented = append(documented, name)
		}
	}
	same(t, path, append(members, constants...), documented)
}

// jsonMembers are the names of a struct's fields in JSON.
func jsonMembers(s *ast.StructType) (names []string) {
	for _, f := range s.Fields.List {
		if f.Tag == nil {
			continue
		}
		tag, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			continue
		}
		name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// The codes that clients and people search for: those of tokens, and the inner codes of refusals.
func TestTroubleshootingListsEveryCode(t *testing.T) {
	const path = "docs/operations/troubleshooting.md"
	code := withPrefix(t, "internal", `AKV[0-9]{5}`)
	sources(t, "internal/door/azure", func(file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || v.Names[0].Name != "innerReasons" && v.Names[0].Name != "outerReasons" {
				return true
			}
			texts(v, func(s string) { code = append(code, s) })
			return false
		})
	})
	p := readPage(t, path)
	documented := p.firstCells()
	for _, name := range code {
		if documented[name] == nil {
			t.Errorf("%s does not explain %s", path, name)
		}
	}
	if len(code) < 10 {
		t.Fatalf("only %d codes were found in the code", len(code))
	}
}

// licences are told apart by what only their texts say.
var licences = []struct{ name, says string }{
	{"Apache-2.0", "Apache License"},
	{"MIT", "Permission is hereby granted, free of charge"},
	{"BSD", "Redistribution and use in source and binary forms"},
	{"MPL-2.0", "Mozilla Public License"},
}

func TestDependenciesListsEveryModule(t *testing.T) {
	const path = "docs/dependencies.md"
	content, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", content, nil)
	if err != nil {
		t.Fatal(err)
	}
	var direct, all []string
	for _, r := range mod.Require {
		all = append(all, r.Mod.Path)
		if !r.Indirect {
			direct = append(direct, r.Mod.Path)
		}
	}
	if len(direct) == 0 {
		t.Fatal("go.mod requires nothing directly")
	}
	p := readPage(t, path)
	rows := p.firstCells()
	for _, name := range direct {
		if rows[name] == nil {
			t.Errorf("%s does not say what %s is for", path, name)
		}
	}
	for name, cells := range rows {
		if !strings.Contains(name, ".") || !strings.Contains(name, "/") {
			continue // a package of Debian or npm
		}
		if !slices.Contains(all, name) {
			t.Errorf("%s lists %s, which go.mod does not require", path, name)
		} else if got := licence(t, name); got != "" && !strings.HasPrefix(cells[0], got) {
			t.Errorf("%s says that the licence of %s is %s, and it is %s", path, name, cells[0], got)
		}
	}
}

// licence reads a module's licence in the module cache; it is empty where the module is not there.
func licence(t *testing.T, module string) string {
	t.Helper()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "LICEN[SC]E*"))
	if err != nil || len(files) == 0 {
		return ""
	}
	text, err := os.ReadFile(slices.Min(files)) // LICENSE goes before LICENSE-OF-PARTS
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range licences {
		if strings.Contains(string(text), l.says) {
			return l.name
		}
	}
	return ""
}

// Every npm package that a program of the tree asks for by name, and every package of Debian that scripts/deps installs.
func TestDependenciesListsEveryPackage(t *testing.T) {
	const path = "docs/dependencies.md"
	p := readPage(t, path)
	rows := p.firstCells()
	content, err := os.ReadFile(filepath.Join(root, "scripts", "deps"))
	if err != nil {
		t.Fatal(err)
	}
	var wanted []string
	for _, m := range regexp.MustCompile(`(?m)^(?:demo|test)_packages='([^']*)'`).FindAllStringSubmatch(string(content), -1) {
		wanted = append(wanted, strings.Fields(m[1])...)
	}
	var manifests []string
	for _, pattern := range []string{"demo/*/package.json", "docs/examples/*/package.json", "e2e/*/*/package.json"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: nothing was found: %v", pattern, err)
		}
		manifests = append(manifests, found...)
	}
	if len(wanted) == 0 {
		t.Fatal("scripts/deps installs nothing")
	}
	for _, name := range manifests {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, dependencies, _ := strings.Cut(string(text), `"dependencies"`)
		for _, m := range regexp.MustCompile(`"([^"]+)": "[0-9]`).FindAllStringSubmatch(dependencies, -1) {
			wanted = append(wanted, m[1])
		}
	}
	for _, name := range wanted {
		if rows[name] == nil {
			t.Errorf("%s does not say what %s is for", path, name)
		}
	}
}

func TestKeyAlgorithmsListsEveryAlgorithm(t *testing.T) {
	const path = "docs/operations/key-algorithms.md"
	types := []cryptokey.Spec{{Type: cryptokey.RSA}, {Type: cryptokey.Oct, Bits: 128}, {Type: cryptokey.Oct, Bits: 192}, {Type: cryptokey.Oct, Bits: 256}}
	for _, c := range []cryptokey.Curve{cryptokey.P256, cryptokey.P384, cryptokey.P521, cryptokey.P256K} {
		types = append(types, cryptokey.Spec{Type: cryptokey.EC, Curve: c})
	}
	for _, s := range []cryptokey.ParameterSet{cryptokey.SetMLDSA44, cryptokey.SetMLDSA65, cryptokey.SetMLDSA87, cryptokey.SetMLKEM768, cryptokey.SetMLKEM1024} {
		types = append(types, cryptokey.Spec{Type: cryptokey.AKP, Set: s})
	}
	names := map[string]bool{}
	for _, spec := range types {
		names[string(spec.Type)] = true
		if spec.Type != cryptokey.AKP {
			names[spec.Type.Kty(true)] = true
		}
		for _, op := range []cryptokey.Op{cryptokey.Encrypt, cryptokey.Sign, cryptokey.WrapKey} {
			for _, alg := range spec.Algorithms(op) {
				names[string(alg)] = true
			}
		}
	}
	p := readPage(t, path)
	same(t, path, slices.Sorted(maps.Keys(names)), slices.Sorted(maps.Keys(p.firstCells())))
}

// TestFIPSListsWhatIsOutside compares the page with the packages for cryptography that are linked and lie outside of the module, and with what the program says.
func TestFIPSListsWhatIsOutside(t *testing.T) {
	const path = "docs/operations/fips.md"
	out, err := exec.Command("go", "list", "-deps", "../cmd/keywright").Output()
	if err != nil {
		t.Fatal(err)
	}
	outside := regexp.MustCompile(`^(crypto/(md5|sha1|des|rc4|dsa)|golang\.org/x/crypto/.*|filippo\.io/.*|.*secp256k1.*|github\.com/zmap/zcrypto/.*(x509|rsa|dsa))$`)
	// Encodings and helpers, which are no cryptography.
	helper := regexp.MustCompile(`/(cryptobyte|asn1|internal|pkix|ct)(/|$)`)
	var linked []string
	for line := range strings.Lines(string(out)) {
		if p := strings.TrimSpace(line); outside.MatchString(p) && !helper.MatchString(p) {
			linked = append(linked, p)
		}
	}
	p := readPage(t, path)
	code := regexp.MustCompile("`([^`]+)`")
	var documented, kinds []string
	p.prose(func(_ int, line string) {
		row, ok := strings.CutPrefix(line, "| ")
		cells := strings.Split(strings.TrimSuffix(row, " |"), " | ")
		if !ok || len(cells) != 4 || cells[0] == "what" {
			return
		}
		kinds = append(kinds, cells[0])
		for _, m := range code.FindAllStringSubmatch(cells[3], -1) {
			documented = append(documented, m[1])
		}
	})
	same(t, path, linked, documented)
	same(t, path, version.Crypto().Outside, kinds)
}
