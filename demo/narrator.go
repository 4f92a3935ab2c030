package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// title opens a part of the story.
func title(text string) { fmt.Printf("\n%s\n", text) }

// chapter opens a chapter of a part; one without a number ends it.
func chapter(number int, text string) {
	if number > 0 {
		text = fmt.Sprintf("Chapter %d: %s", number, text)
	}
	fmt.Printf("\n  %s\n", text)
}

// step does one thing and prints one line about it. do returns what is worth knowing, in a few words, or why it failed.
func step(what string, do func() (string, error)) error {
	begin := time.Now()
	outcome, err := do()
	if err != nil {
		fmt.Printf("  ✗ %s\n", what)
		return fmt.Errorf("%s: %w", what, err)
	}
	if outcome != "" {
		what += ": " + outcome
	}
	fmt.Printf("  ✓ %s  (%.1f s)\n", what, time.Since(begin).Seconds())
	return nil
}

// remark prints a line that is no step.
func remark(format string, args ...any) { fmt.Printf("  · "+format+"\n", args...) }

// listen sends what a program prints to stderr when the user wants to see it; otherwise it is kept for errors.
func (o options) listen(cmd *exec.Cmd) {
	if o.verbose {
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	}
}

// log is where servers inside this process write, nil when nobody wants to see it.
func (o options) log() io.Writer {
	if o.verbose {
		return os.Stderr
	}
	return nil
}
