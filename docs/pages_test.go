// Package docs holds the documentation and the tests that keep it true: links lead somewhere, lists are what the code says,
// and commands are run.
//
// What a fenced block is for stands behind its language:
//
//	sh run            run in the page's shell; a command that fails fails the test
//	sh serve          run in a terminal of its own until the page ends; the next block waits until it prints "ready"
//	sh by-hand        not run: it would change the machine, or needs another one
//	sh packages=DIR   an npm install: the test lays the pinned packages of DIR, relative to the source tree, in its place
//	console run       a transcript: each "$ " line is run and what it prints is compared; "…" stands for any text, and a line
//	                  that is nothing else for any lines
//	LANG file=NAME    written to NAME in the directory where the shell is
//
// Blocks of one page share a shell that starts at the root of the source tree with an empty home directory.
package docs

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/e2e/netns"
)

const root = ".."

func TestMain(m *testing.M) {
	netns.Init()
	os.Exit(m.Run())
}

// page is one Markdown file.
type page struct {
	// path is relative to the source tree.
	path   string
	lines  []string
	blocks []block
}

// block is one fenced block.
type block struct {
	line           int
	language, mark string
	text           []string
}

// value returns what stands behind name= in the block's mark.
func (b *block) value(name string) (string, bool) { return strings.CutPrefix(b.mark, name+"=") }

func (b *block) shell() bool { return b.language == "sh" || b.language == "console" }

// pages reads every Markdown file of the source tree.
func pages(t *testing.T) []page {
	t.Helper()
	var all []page
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "node_modules" || name == "testdata") {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".md" {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err == nil {
			all = append(all, readPage(t, rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 25 {
		t.Fatalf("only %d pages were found: the test looks in the wrong place", len(all))
	}
	return all
}

func readPage(t *testing.T, path string) page {
	t.Helper()
	file, err := os.Open(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := page{path: path}
	var open *block
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		line := scanner.Text()
		p.lines = append(p.lines, line)
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			language, mark, _ := strings.Cut(info, " ")
			open = &block{line: len(p.lines), language: language, mark: mark}
		case fence:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text = append(open.text, line)
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: this block does not end", path, open.line)
	}
	return p
}

// followed says which pages' commands people follow: each of them must say whether it is run.
func (p *page) followed() bool {
	return p.path == "README.md" || strings.HasPrefix(p.path, "docs/tutorials/") || strings.HasPrefix(p.path, "docs/operations/")
}

func TestEveryCommandSaysWhetherItIsRun(t *testing.T) {
	known := []string{"run", "serve", "by-hand"}
	seen := 0
	for _, p := range pages(t) {
		if !p.followed() {
			continue
		}
		for _, b := range p.blocks {
			if !b.shell() {
				continue
			}
			seen++
			_, laid := b.value("packages")
			if !laid && !slices.Contains(known, b.mark) {
				t.Errorf("%s:%d: the mark %q of this block is not one of run, serve, by-hand and packages=DIR", p.path, b.line, b.mark)
			}
		}
	}
	if seen == 0 {
		t.Fatal("no page has a command")
	}
}
