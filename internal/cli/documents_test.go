package cli

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client/api"
)

// TestWhatIsSaidOfCommandsIsTrue looks for command lines in the documentation, and in what the programs say: each has to be one that exists, with flags that it
// has.
func TestWhatIsSaidOfCommandsIsTrue(t *testing.T) {
	a := &app{Config: Config{Getenv: func(string) string { return "" }, VerifyAudit: func(context.Context, string, []byte) (*api.AuditReport, error) { return nil, nil },
		ProveBackup:   func(context.Context, ProveBackup) (*api.BackupReport, error) { return nil, nil },
		OfflineBackup: func(context.Context, OfflineBackup) (*api.Backup, error) { return nil, nil }}}
	root := a.root()
	for _, own := range handedIn { // their flags are the program's own, which docs/lists_test.go compares
		root.AddCommand(&cobra.Command{Use: own})
	}
	root.InitDefaultVersionFlag()
	documents, messages := 0, 0
	check := func(where, line string) bool {
		cmd, problem := judge(root, line)
		if problem != "" {
			t.Errorf("%s says %q, but %s", where, line, problem)
		}
		return cmd != nil
	}
	walk(t, "../..", ".md", func(path, text string) {
		for _, line := range commandLines(text) {
			if check(path, line) {
				documents++
			}
		}
	})
	walk(t, "../../internal", ".go", func(path, text string) {
		for _, said := range literals(t, path, text) {
			for _, m := range regexp.MustCompile(`"(keywright [^"]*)"`).FindAllStringSubmatch(said, -1) {
				if check(path, m[1]) {
					messages++
				}
			}
		}
	})
	if documents < 150 || messages < 10 {
		t.Errorf("only %d command lines were found in the documentation and %d in messages: the test looks in the wrong place", documents, messages)
	}
}

// handedIn are the commands that the program hands in.
var handedIn = []string{"dev", "server", "init", "doctor", "restore"}

// judge finds the command of a line, and what is wrong with the line. Without a command it is no command line.
func judge(root *cobra.Command, line string) (cmd *cobra.Command, problem string) {
	words := strings.Fields(line)
	cmd = root
	n := 1
	for ; n < len(words) && cmd.HasSubCommands(); n++ {
		next := sub(cmd, words[n])
		if next == nil {
			break
		}
		cmd = next
	}
	switch {
	case n < len(words) && strings.HasPrefix(words[n], "%"), cmd == root && n == len(words), slices.Contains(handedIn, cmd.Name()), cmd.Name() == "completion":
		return nil, ""
	case cmd.HasSubCommands() && cmd.Name() != "version" && n < len(words) && regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(words[n]):
		return cmd, "there is no command " + cmd.CommandPath() + " " + words[n]
	}
	for _, word := range words[n:] {
		name, isFlag := strings.CutPrefix(word, "--")
		if name, _, _ = strings.Cut(name, "="); !isFlag || name == "" {
			continue
		}
		if cmd.Flags().Lookup(name) == nil && cmd.InheritedFlags().Lookup(name) == nil && name != "help" {
			return cmd, cmd.CommandPath() + " has no flag --" + name
		}
	}
	return cmd, ""
}

func sub(c *cobra.Command, word string) *cobra.Command {
	for _, s := range c.Commands() {
		if s.Name() == word || s.HasAlias(word) {
			return s
		}
	}
	return nil
}

// begins tells a command line by its beginning: a prompt, and variables for it alone.
var begins = regexp.MustCompile(`^\s*(?:\$ )?(?:[A-Z_]+=\S* )*(keywright .*)`)

// commandLines are those in the code spans and the fenced blocks of a page. What stands behind a pipe or another shell operator is another command.
func commandLines(text string) (lines []string) {
	add := func(code string) {
		for _, part := range regexp.MustCompile(`[|;&<>()]|\$\(`).Split(code, -1) {
			if m := begins.FindStringSubmatch(part); m != nil {
				lines = append(lines, strings.NewReplacer(`"`, "", ",", "").Replace(m[1]))
			}
		}
	}
	fenced := false
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		if code, _, _ := strings.Cut(line, " #"); fenced {
			add(code)
			continue
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
			add(m[1])
		}
	}
	return lines
}

// literals are the texts in a file of Go code.
func literals(t *testing.T, path, text string) (list []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if s, err := strconv.Unquote(l.Value); err == nil {
				list = append(list, s)
			}
		}
		return true
	})
	return list
}

// walk reads the files below a directory that have an ending, but for tests and what others wrote.
func walk(t *testing.T, dir, ending string, f func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && path != dir):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ending) || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			f(path, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
