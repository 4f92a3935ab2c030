package cli

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func TestExitCodeOfEveryKind(t *testing.T) {
	want := map[client.Kind]int{client.Unauthenticated: ExitDenied, client.Forbidden: ExitDenied, client.NotFound: ExitNotFound, client.Gone: ExitNotFound,
		client.Conflict: ExitConflict, client.Internal: ExitFailure, client.Invalid: ExitFailure, client.TooLarge: ExitFailure, client.Throttled: ExitFailure,
		client.Unavailable: ExitFailure, client.Unsupported: ExitFailure}
	for kind, code := range want {
		if got := exitCode(&client.Error{Kind: kind}); got != code {
			t.Errorf("%s: exit code %d, want %d", kind, got, code)
		}
	}
	if got := exitCode(usage("x")); got != ExitUsage {
		t.Errorf("usage: exit code %d", got)
	}
}

// offered are the arguments that the server knows.
var offered = []string{"NAME", "RUN", "LEASE", "TASK", "INCIDENT"}

// makers are the commands that may make what they name.
var makers = []string{"create", "import", "set"}

// TestEveryCommandExplainsItself walks the tree: a command without a sentence, one that could act on a mistyped argument, one that destroys without a question,
// or one that leaves a name to be typed is no command.
func TestEveryCommandExplainsItself(t *testing.T) {
	var out bytes.Buffer
	a := &app{Config: Config{Version: "test", Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}}
	n := 0
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		n++
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its summary is %q", c.CommandPath(), c.Short)
		}
		if c.Args == nil {
			t.Errorf("%s takes any arguments", c.CommandPath())
		}
		if verb := c.Name(); slices.Contains([]string{"delete", "purge", "remove", "revoke", "revoke-tokens"}, verb) && c.Flags().Lookup("yes") == nil {
			t.Errorf("%s does not ask", c.CommandPath())
		}
		if words := strings.Fields(c.Use); len(words) > 1 && slices.Contains(offered, strings.Trim(words[1], "[].")) && c.ValidArgsFunction == nil && !slices.Contains(makers, c.Name()) {
			t.Errorf("%s does not complete %s", c.CommandPath(), words[1])
		}
		for _, sub := range c.Commands() {
			if sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub)
			}
		}
	}
	walk(a.root())
	if n < 50 {
		t.Errorf("only %d commands were found", n)
	}
}

func TestTableKeepsTheTerminalSafe(t *testing.T) {
	var out bytes.Buffer
	a := &app{Config: Config{Stdout: &out}, colour: true}
	if err := a.show(nil, table{{"A", "B"}, {"x\x1b[31m", "y\nz"}}); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "\x1b[1mA       B\x1b[0m\nx\ufffd[31m  y\ufffdz\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTSVKeepsCellsApart(t *testing.T) {
	var out bytes.Buffer
	a := &app{Config: Config{Stdout: &out}, output: "tsv"}
	if err := a.show(nil, table{{"A", "B"}, {"x\ty", "1\n2\\"}}); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "x\\ty\t1\\n2\\\\\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzInstant(f *testing.F) {
	for _, s := range []string{"", "24h", "-1h", "2027-01-31", "2027-01-31T12:00:00Z", "soon", "9999999h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := instant("expires", text)
		if err != nil {
			if got != nil || exitCode(err) != ExitUsage {
				t.Errorf("%q: %v with %v", text, got, err)
			}
			return
		}
		if (got == nil) != (text == "") {
			t.Errorf("%q: %v", text, got)
		}
		if again, err := time.Parse(time.RFC3339, when(got)); got != nil && got.Year() >= 0 && got.Year() < 10000 && !got.IsZero() &&
			(err != nil || !again.Equal(got.Truncate(time.Second))) {
			t.Errorf("%q is written as %q, which is read as %v, %v", text, when(got), again, err)
		}
	})
}

func FuzzDecodeYAML(f *testing.F) {
	f.Add("name: x\npermissions:\n- actions: ['*']\n")
	f.Add(`{"name":"x"}`)
	f.Add("? [a]\n: b")
	f.Fuzz(func(t *testing.T, text string) {
		var role api.Role
		if err := decodeYAML([]byte(text), &role); err != nil {
			if exitCode(err) != ExitUsage {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		raw, err := json.Marshal(role)
		if err != nil {
			t.Fatal(err)
		}
		var again api.Role
		if err := decodeYAML(raw, &again); err != nil {
			t.Errorf("%q was read, but not what it was written as: %v", text, err)
		}
	})
}
