package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/keywright/keywright/internal/cli"
)

// TestDeployedCommandsExist asks the program for help about each command line in deploy, with its flags, which have to be known for that.
func TestDeployedCommandsExist(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		content, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	lines := map[string][]string{}
	for _, name := range []string{"kubernetes/keywright.yaml", "kubernetes/init.yaml"} {
		for d := yaml.NewDecoder(strings.NewReader(read(name))); ; {
			var o struct {
				Spec struct {
					Template struct {
						Spec struct{ Containers []struct{ Args []string } }
					}
				}
			}
			if err := d.Decode(&o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, c := range o.Spec.Template.Spec.Containers {
				lines[name] = c.Args
			}
		}
	}
	if m := regexp.MustCompile(`(?m)^CMD (.*)$`).FindStringSubmatch(read("container/Containerfile")); m != nil {
		var args []string
		if err := json.Unmarshal([]byte(m[1]), &args); err != nil {
			t.Fatal(err)
		}
		lines["the container"] = args
	}
	if m := regexp.MustCompile(`(?m)^ExecStart=\S+/keywright (.*)$`).FindStringSubmatch(read("systemd/keywright.service")); m != nil {
		lines["the unit"] = strings.Fields(m[1])
	}
	if len(lines) != 4 {
		t.Fatalf("there are the command lines %v", lines)
	}
	run := func(args []string) (int, string) {
		var out strings.Builder
		code := cli.Run(t.Context(), cli.Config{Commands: []*cobra.Command{serverCommand(), initCommand()}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
			Getenv: func(string) string { return "" }}, append(args, "--help"))
		return code, out.String()
	}
	for where, args := range lines {
		if code, out := run(args); code != 0 || !strings.Contains(out, "keywright "+args[0]) {
			t.Errorf("%s starts keywright %q: %d %s", where, args, code, out)
		}
	}
	if code, _ := run([]string{"server", "--konfig", "x"}); code != cli.ExitUsage {
		t.Errorf("a flag that there is not: exit %d", code)
	}
}
