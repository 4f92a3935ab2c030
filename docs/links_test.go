package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// link finds [text](target) and ![text](target).
var link = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	anchors := map[string]map[string]bool{}
	for i := range all {
		anchors[all[i].path] = all[i].anchors()
	}
	seen := 0
	for i := range all {
		p := &all[i]
		text := p.text()
		for _, m := range link.FindAllStringSubmatchIndex(text, -1) {
			whole, number := text[m[2]:m[3]], 1+strings.Count(text[:m[0]], "\n")
			target, anchor, _ := strings.Cut(whole, "#")
			if strings.Contains(whole, "://") || strings.HasPrefix(whole, "mailto:") {
				continue
			}
			seen++
			file := p.path
			if target != "" {
				file = filepath.Join(filepath.Dir(p.path), target)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s:%d: the link to %s leads nowhere", p.path, number, whole)
			} else if anchor != "" && !anchors[file][anchor] {
				t.Errorf("%s:%d: %s has no heading %q", p.path, number, file, anchor)
			}
		}
	}
	if seen < 20 {
		t.Fatalf("only %d links were found", seen)
	}
}

// prose calls f with each line outside of fenced blocks, counted from 1.
func (p *page) prose(f func(number int, line string)) {
	fenced := false
	for i, line := range p.lines {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		if !fenced {
			f(i+1, line)
		}
	}
}

// text is the page with empty lines in place of its fenced blocks. Links go over the ends of lines.
func (p *page) text() string {
	lines := make([]string, len(p.lines))
	p.prose(func(number int, line string) { lines[number-1] = line })
	return strings.Join(lines, "\n")
}

// anchors are the names that Markdown viewers give headings: lower case, blanks as hyphens, no punctuation.
func (p *page) anchors() map[string]bool {
	found := map[string]bool{}
	p.prose(func(_ int, line string) {
		heading := strings.TrimLeft(line, "#")
		if heading == line || !strings.HasPrefix(heading, " ") {
			return
		}
		found[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(heading))] = true
	})
	return found
}
