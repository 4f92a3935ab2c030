package cli

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
)

// Shares are the shares of a seal's key, which people give to a command that works without a server: out of files, or one after the other at a prompt.
type Shares struct {
	// Held says that the seal's key is in shares. Whoever reads so in a configuration sets it.
	Held bool

	command *cobra.Command
	app     *app
	files   []string
	read    [][]byte
}

// ShareFlags gives a command the flags by which it is told of shares.
func ShareFlags(c *cobra.Command) *Shares {
	s := &Shares{command: c}
	f := c.Flags()
	f.BoolVar(&s.Held, "seal-shares", false, "people hold shares of the seal's key: they are asked for on the terminal, and not shown")
	f.StringArrayVar(&s.files, "share-file", nil, "file that holds a share, or several, one a line; - for standard input")
	return s
}

// Open reads the files of shares, before anything else is done. The command itself reads the named file, which may be "-" as well. It is an error of usage when there
// are shares and nobody can be asked for them.
func (s *Shares) Open(file string) (err error) {
	s.Held = s.Held || len(s.files) > 0
	s.app = &app{Config: Config{Stdin: s.command.InOrStdin(), Stderr: s.command.ErrOrStderr()}}
	switch {
	case s.Held && s.Asks() && !s.app.interactive():
		return usage("people hold shares of the seal's key, and there is no terminal to ask for them: give --share-file FILE, or - for standard input")
	case file == "-" && slices.Contains(s.files, "-"):
		return usage("standard input cannot be the backup and shares at once: name a file for one of them")
	}
	s.read, err = s.app.readShares(s.files)
	return err
}

// Asks reports whether shares come from a prompt, where a mistake can be corrected.
func (s *Shares) Asks() bool { return len(s.files) == 0 }

// Next returns another share: the next one of the files, or what is answered to the question. Without one it is io.EOF.
func (s *Shares) Next(question string) ([]byte, error) {
	if s.Asks() {
		return s.app.ask(question)
	}
	if len(s.read) == 0 {
		return nil, io.EOF
	}
	share := s.read[0]
	s.read = s.read[1:]
	return share, nil
}

// Say writes a message for whoever gives shares.
func (s *Shares) Say(err error) { fmt.Fprintln(s.app.Stderr, err) }
