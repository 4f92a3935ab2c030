package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Bounds of what is read, in bytes. The server has bounds of its own; these keep a mistaken file out of memory.
const (
	maxValue  = 1 << 20
	maxBackup = 64 << 20
)

const noFollow = syscall.O_NOFOLLOW

// valueFlags say where a value comes from.
type valueFlags struct {
	file, value string
	stdin       bool
}

func (in *valueFlags) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&in.file, "file", "", "file that holds the value, byte for byte; - for standard input")
	f.BoolVar(&in.stdin, "value-from-stdin", false, "read the value from standard input, less one line break at its end")
	f.StringVar(&in.value, "value", "", "the value itself, which others can see in the list of processes")
	c.MarkFlagsMutuallyExclusive("file", "value-from-stdin", "value")
}

// readValue returns the value from where the flags say, or asks for it on a terminal.
func (a *app) readValue(c *cobra.Command, in *valueFlags) ([]byte, error) {
	switch {
	case c.Flags().Changed("value"):
		a.say("Warning: a value on the command line is visible to other users of this machine and stays in the shell's history. Use --file or --value-from-stdin.")
		return []byte(in.value), nil
	case in.stdin:
		value, err := a.readInput("-", maxValue)
		value = bytes.TrimSuffix(value, []byte("\n"))
		return bytes.TrimSuffix(value, []byte("\r")), err
	case c.Flags().Changed("file"):
		return a.readInput(in.file, maxValue)
	case a.interactive():
		return a.ask("Value: ")
	}
	return nil, usage("no value: give --file FILE or --value-from-stdin")
}

// readInput reads a file, or standard input for "-".
func (a *app) readInput(file string, most int64) ([]byte, error) {
	from := a.Stdin
	if file == "-" && a.interactive() {
		a.say("Reading standard input, to its end (Ctrl-D).")
	}
	if file != "-" {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			here, _ := os.Getwd() // a message without it still helps
			return nil, fmt.Errorf("the file %s does not exist: check its path, which begins at %s if it is relative, or give - to read "+
				"standard input", file, here)
		}
		if err != nil {
			return nil, fmt.Errorf("the input cannot be read: %w", err)
		}
		defer f.Close()
		from = f
	}
	content, err := io.ReadAll(io.LimitReader(from, most+1))
	if err != nil {
		return nil, fmt.Errorf("reading the input: %w", err)
	}
	if int64(len(content)) > most {
		return nil, usage("the input is larger than %d bytes", most)
	}
	return content, nil
}

// ask reads a line from the terminal without showing it.
func (a *app) ask(question string) ([]byte, error) {
	fmt.Fprint(a.Stderr, question)
	value, err := term.ReadPassword(int(a.Stdin.(*os.File).Fd()))
	fmt.Fprintln(a.Stderr)
	return value, err
}

func confirmFlag(c *cobra.Command) {
	c.Flags().BoolP("yes", "y", false, "do not ask on a terminal")
}

// confirm asks before something is destroyed. Scripts are not asked.
func (a *app) confirm(c *cobra.Command, format string, args ...any) error {
	if yes, _ := c.Flags().GetBool("yes"); yes || !a.interactive() {
		return nil
	}
	fmt.Fprintf(a.Stderr, format+" [y/N] ", args...)
	answer, err := bufio.NewReader(a.Stdin).ReadString('\n')
	if err != nil && answer == "" {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("nothing was changed")
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
