package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// table is rows of cells; the first row is the header.
type table [][]string

// show writes a value in the form that was asked for: data for json and yaml, t for table and tsv. tsv has no header, as
// scripts want it.
func (a *app) show(data any, t table) error {
	switch a.output {
	case "json":
		return a.writeJSON(data)
	case "yaml":
		return a.writeYAML(data)
	case "tsv":
		return a.writeTSV(t)
	}
	return a.writeTable(t)
}

func (a *app) writeJSON(data any) error {
	e := json.NewEncoder(a.Stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(data)
}

// writeYAML goes through JSON, so that members have the same names in both.
func (a *app) writeYAML(data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(raw, &node); err != nil {
		return err
	}
	block(&node)
	e := yaml.NewEncoder(a.Stdout)
	e.SetIndent(2)
	if err := e.Encode(&node); err != nil {
		return err
	}
	return e.Close()
}

// writeDocument writes one of several documents of a stream.
func (a *app) writeDocument(data any) error {
	if _, err := fmt.Fprintln(a.Stdout, "---"); err != nil {
		return err
	}
	return a.writeYAML(data)
}

// block takes JSON's braces and quotes off, where YAML can do without.
func block(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		block(c)
	}
}

// tsvCell keeps a cell on its line and in its column.
var tsvCell = strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)

func (a *app) writeTSV(t table) error {
	var b strings.Builder
	for _, row := range t[1:] {
		for i, cell := range row {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(tsvCell.Replace(cell))
		}
		b.WriteByte('\n')
	}
	_, err := fmt.Fprint(a.Stdout, b.String())
	return err
}

func (a *app) writeTable(t table) error {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.StripEscape)
	for _, row := range t {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, printable(cell))
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	head, rest, _ := strings.Cut(b.String(), "\n")
	if a.colour {
		head = "\x1b[1m" + head + "\x1b[0m"
	}
	_, err := fmt.Fprintln(a.Stdout, head)
	if err == nil {
		_, err = fmt.Fprint(a.Stdout, rest)
	}
	return err
}

// printable replaces control characters: what the server tells must not steer the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}

// when writes an instant; an absent one is empty.
func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// pairs writes a map as "a=1 b=2", in the order of its keys.
func pairs(m map[string]string) string {
	var list []string
	for k, v := range m {
		list = append(list, k+"="+v)
	}
	return strings.Join(sorted(list), " ")
}

// Show writes the data of a command that is handed in, in the form that was asked for. The first row is the header.
func Show(c *cobra.Command, data any, rows [][]string) error {
	a := &app{Config: Config{Stdout: c.OutOrStdout()}, output: Output(c)}
	return a.show(data, rows)
}

// Output is the form that was asked for; empty when nothing was.
func Output(c *cobra.Command) string {
	if f := c.Flag("output"); f != nil {
		return f.Value.String()
	}
	return ""
}

// Exit gives an error of a command that is handed in its exit code.
func Exit(code int, err error) error { return exitError{code, err} }
