package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestBillOfThisTest describes the test's own binary.
func TestBillOfThisTest(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for range 2 {
		out := filepath.Join(t.TempDir(), "bom.json")
		if err := run(own, out, "1.2.3+x"); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	if texts[0] != texts[1] {
		t.Error("the same binary gives two bills")
	}
	var b bom
	if err := json.Unmarshal([]byte(texts[0]), &b); err != nil {
		t.Fatal(err)
	}
	if b.Format != "CycloneDX" || b.SpecVersion != "1.6" || !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(b.SerialNumber) {
		t.Errorf("%+v", b)
	}
	if p := b.Metadata.Component; p.Version != "1.2.3+x" || !strings.HasSuffix(p.PURL, "@1.2.3%2Bx") || len(p.Hashes) != 1 || len(p.Hashes[0].Content) != 64 {
		t.Errorf("%+v", p)
	}
	if !slices.ContainsFunc(b.Components, func(c component) bool { return c.Name == "std" && c.Version != "" }) || len(b.Dependencies) != 1 ||
		len(b.Dependencies[0].DependsOn) != len(b.Components) {
		t.Errorf("%+v", b)
	}
	if err := run(filepath.Join(t.TempDir(), "none"), "", ""); err == nil {
		t.Error("a file that is not there has a bill")
	}
}
