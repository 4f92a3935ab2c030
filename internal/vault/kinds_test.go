package vault_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/keywright/keywright/internal/vault"
)

// Every constant of the type is among the kinds.
func TestKindsAreComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "object.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != "Kind" {
			return true
		}
		for _, value := range spec.Values {
			text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			if n++; !slices.Contains(vault.Kinds(), vault.Kind(text)) {
				t.Errorf("%s is not among the kinds", text)
			}
		}
		return true
	})
	if n < 5 || n != len(vault.Kinds()) {
		t.Errorf("%d kinds are constants, %d are listed", n, len(vault.Kinds()))
	}
}
