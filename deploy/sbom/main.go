// Sbom writes the bill of materials of a Go binary, as CycloneDX 1.6 in JSON, from what the linker has written into it: every module with its version and
// checksum, the toolchain, and the settings of the build. The same binary gives the same bytes.
package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

func main() {
	out := flag.String("out", "", "file to write to; standard output when empty")
	version := flag.String("version", "", "version of the product, where the binary does not say it")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: sbom [-out FILE] [-version VERSION] BINARY")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *out, *version); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(binary, out, version string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("reading %s: %w", binary, err)
	}
	sum, err := digest(binary)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(describe(info, filepath.Base(binary), sum, version), "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if out == "" {
		_, err = os.Stdout.Write(text)
		return err
	}
	return os.WriteFile(out, text, 0o644)
}

func digest(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), err
}

// bom is a bill of materials (https://cyclonedx.org/docs/1.6/json/).
type bom struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	SerialNumber string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

func describe(info *debug.BuildInfo, name string, sum [sha256.Size]byte, version string) bom {
	product := component{Type: "application", Name: name, Version: cmp.Or(version, info.Main.Version), PURL: purl(info.Main.Path, cmp.Or(version, info.Main.Version)),
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}}}
	product.Ref = product.PURL
	for _, s := range info.Settings {
		product.Properties = append(product.Properties, property{"go:build:" + s.Key, s.Value})
	}
	toolchain := component{Type: "library", Name: "std", Version: strings.TrimPrefix(info.GoVersion, "go"), PURL: purl("stdlib", strings.TrimPrefix(info.GoVersion, "go"))}
	toolchain.Ref = toolchain.PURL
	b := bom{Format: "CycloneDX", SpecVersion: "1.6", SerialNumber: serial(sum), Version: 1, Metadata: metadata{product}, Components: []component{toolchain}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := component{Type: "library", Name: m.Path, Version: m.Version, PURL: purl(m.Path, m.Version)}
		c.Ref = c.PURL
		if m.Sum != "" {
			c.Properties = []property{{"go:sum", m.Sum}}
		}
		b.Components = append(b.Components, c)
	}
	slices.SortFunc(b.Components, func(x, y component) int { return strings.Compare(x.Ref, y.Ref) })
	all := dependency{Ref: product.Ref}
	for _, c := range b.Components {
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	b.Dependencies = []dependency{all}
	return b
}

// purl is a package URL (https://github.com/package-url/purl-spec).
func purl(path, version string) string {
	if version == "" {
		return "pkg:golang/" + strings.ToLower(path)
	}
	return "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")
}

// serial is a UUID (RFC 9562, version 8) made of the binary's digest.
func serial(sum [sha256.Size]byte) string {
	u := [16]byte(sum[:16])
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
