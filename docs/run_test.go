package docs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/e2e/netns"
	"github.com/keywright/keywright/e2e/npm"
	"github.com/keywright/keywright/e2e/tree"
)

// programsVariable tells the copy of the test in the namespace where the programs are.
const programsVariable = "KEYWRIGHT_DOCS_PROGRAMS"

// hosts is what the machine of a reader has.
const hosts = "127.0.0.1 localhost\n"

// Commands on the pages are run in a namespace of its own, so that they may have the ports and the hosts file to themselves.
func TestCommandsOnPagesWork(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT PASSED: following every page takes a minute")
	}
	tree.Watch(t, root)
	programs := os.Getenv(programsVariable)
	if programs == "" {
		programs = t.TempDir()
		build(t, programs)
		fetch(t)
		t.Setenv(programsVariable, programs)
	}
	if !netns.Enter(t, netns.Spec{Network: true, Hosts: hosts}) {
		return
	}
	env := environment(t, programs)
	ran := 0
	for _, p := range pages(t) {
		if !p.followed() || !slices.ContainsFunc(p.blocks, func(b block) bool { return b.mark == "run" }) {
			continue
		}
		t.Run(p.path, func(t *testing.T) {
			for _, tool := range p.tools() {
				need(t, tool)
			}
			follow(t, newShell(t, env), &p)
		})
		ran++
	}
	if ran < 8 {
		t.Fatalf("only %d pages have commands to run", ran)
	}
}

// build makes the programs that readers have built by then.
func build(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"./cmd/keywright", "./docs/examples/read-secret"} {
		cmd := exec.Command("go", "build", "-trimpath", "-o", dir+"/", name)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v\n%s", name, err, out)
		}
	}
}

var goGet = regexp.MustCompile(`^go get (.*)$`)

// fetch brings what pages get with "go get" into the module cache while there is a network.
func fetch(t *testing.T) {
	t.Helper()
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if dir, ok := b.value("packages"); ok {
				install(t, filepath.Join(root, dir))
			}
			for _, line := range b.text {
				m := goGet.FindStringSubmatch(line)
				if m == nil || b.mark != "run" {
					continue
				}
				dir := t.TempDir()
				for _, args := range [][]string{{"mod", "init", "fetched"}, append([]string{"get"}, strings.Fields(m[1])...)} {
					cmd := exec.Command("go", args...)
					cmd.Dir = dir
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Fatalf("%s: go %s: %v\n%s", p.path, strings.Join(args, " "), err, out)
					}
				}
			}
		}
	}
}

// install does the same for npm's packages. Without npm the page that needs them says so.
func install(t *testing.T, dir string) {
	t.Helper()
	cache, err := npm.CacheDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := npm.Install(t.Context(), npm.Config{Package: dir, Cache: cache}); err != nil && !errors.Is(err, npm.ErrMissing) {
		t.Fatal(err)
	}
}

// environment is that of a reader: no settings of vaults, an own home, and the caches of this machine, so that nothing is
// fetched twice.
func environment(t *testing.T, programs string) []string {
	t.Helper()
	path := []string{programs}
	for _, tool := range []string{"go", "node"} {
		if found, err := exec.LookPath(tool); err == nil && !strings.HasPrefix(found, "/usr/bin/") {
			path = append(path, filepath.Dir(found))
		}
	}
	path = append(path, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
	env := []string{"PATH=" + strings.Join(path, ":"), "LANG=C.UTF-8", "TERM=dumb", "AZURE_CORE_COLLECT_TELEMETRY=0",
		// In the namespace there is no network: modules come from the cache alone.
		"GOPROXY=off", "GOSUMDB=off", "GOFLAGS=" + strings.TrimSpace("-mod=mod "+os.Getenv("GOFLAGS"))}
	for _, name := range []string{"GOMODCACHE", "GOCACHE"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(out)))
	}
	return env
}

// tools are the programs that a page's commands begin with and that not every machine has.
func (p *page) tools() (names []string) {
	for _, b := range p.blocks {
		if b.mark != "run" {
			continue
		}
		for _, line := range b.text {
			word, _, _ := strings.Cut(strings.TrimPrefix(line, "$ "), " ")
			if slices.Contains([]string{"az", "node", "python3", "psql"}, word) && !slices.Contains(names, word) {
				names = append(names, word)
			}
		}
	}
	return names
}

// need skips the test where a tool is missing, or fails it under CI=true.
func need(t *testing.T, tool string) {
	t.Helper()
	args := []string{"--version"}
	if tool == "python3" {
		args = []string{"-c", "import azure.identity, azure.keyvault.secrets"}
	}
	out, err := exec.Command("/usr/bin/"+tool, args...).CombinedOutput()
	if tool == "node" {
		_, err = exec.LookPath(tool)
	}
	if err == nil {
		return
	}
	reason := fmt.Sprintf("%s %s: %v %s; scripts/deps installs it", tool, strings.Join(args, " "), err, out)
	if os.Getenv("CI") == "true" {
		t.Fatal(reason)
	}
	t.Skip("SKIPPED, NOT PASSED: ", reason)
}

// follow does what the page says, from its top.
func follow(t *testing.T, s *shell, p *page) {
	for i := range p.blocks {
		b := &p.blocks[i]
		text := strings.Join(b.text, "\n")
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("%s:%d: %s\n%s", p.path, b.line, fmt.Sprintf(format, args...), text)
		}
		if name, ok := b.value("file"); ok {
			if _, code := s.run("cat >"+name+" <<'end of file'\n"+text+"\nend of file", true); code != 0 {
				fail("%s could not be written", name)
			}
		}
		if dir, ok := b.value("packages"); ok {
			modules := npm.Modules(t, filepath.Join(root, dir))
			if out, code := s.run("ln -s '"+modules+"' node_modules", true); code != 0 {
				fail("the packages could not be laid: %s", out)
			}
		}
		switch b.language + " " + b.mark {
		case "sh run":
			if out, code := s.run(text, true); code != 0 {
				fail("this failed (%d) and printed:\n%s\nThe block is:", code, out)
			}
		case "sh serve":
			if err := s.serve(text); err != nil {
				fail("this does not run: %v\nThe block is:", err)
			}
		case "console run":
			for _, step := range transcript(b.text) {
				out, _ := s.run(step.command, false)
				if got := strings.TrimRight(out, "\n"); !matches(step.want, got) {
					fail("%s printed:\n%s\nThe transcript is:", step.command, got)
				}
			}
		}
	}
}

// step is one command of a transcript and what it should print.
type step struct {
	command string
	want    []string
}

// transcript takes a transcript apart. A command goes on behind a line that ends with a backslash.
func transcript(lines []string) (steps []step) {
	for i := 0; i < len(lines); i++ {
		command, ok := strings.CutPrefix(lines[i], "$ ")
		if !ok {
			steps[len(steps)-1].want = append(steps[len(steps)-1].want, lines[i])
			continue
		}
		for strings.HasSuffix(command, "\\") && i+1 < len(lines) {
			i++
			command += "\n" + lines[i]
		}
		steps = append(steps, step{command: command})
	}
	return steps
}

// matches compares printed text with the lines of a transcript. Blanks at the ends of lines do not count.
func matches(want []string, got string) bool {
	var pattern strings.Builder
	pattern.WriteString(`\A`)
	for _, line := range want {
		if strings.TrimSpace(line) == "…" {
			pattern.WriteString(`(?:.*\n)*?`)
			continue
		}
		// Blanks beside "…" are padding of unknown width.
		for i, part := range regexp.MustCompile(` *… *`).Split(strings.TrimRight(line, " "), -1) {
			if i > 0 {
				pattern.WriteString(`.*`)
			}
			pattern.WriteString(regexp.QuoteMeta(part))
		}
		pattern.WriteString(` *\n`)
	}
	pattern.WriteString(`\z`)
	// Refusals have the line ends of HTTP.
	if got = strings.ReplaceAll(got, "\r\n", "\n"); got != "" {
		got += "\n"
	}
	return regexp.MustCompile(pattern.String()).MatchString(got)
}

func TestTranscriptsAreCompared(t *testing.T) {
	want := []string{"NAME  VERSION", "a     01…", "…", "end"}
	for _, got := range []string{"NAME  VERSION\na     0123\nend", "NAME  VERSION  \na     01\nmore\nand more\nend"} {
		if !matches(want, got) {
			t.Errorf("%q does not match", got)
		}
	}
	for _, got := range []string{"", "NAME  VERSION\na     0123", "NAME  VERSION\nb     0123\nend", "NAME  VERSION\na     01\nend\nmore"} {
		if matches(want, got) {
			t.Errorf("%q matches", got)
		}
	}
	if matches(nil, "an error") || !matches(nil, "") {
		t.Error("a command without output must print nothing")
	}
}
