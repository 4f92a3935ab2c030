package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/keywright/keywright/e2e/netns"
)

func main() {
	netns.Init()
	os.Exit(run())
}

// options come from the command line; those of the last part are set by the first.
type options struct {
	// binary is a built keywright; empty builds one from this source tree.
	binary string
	// verbose shows what the programs print.
	verbose bool
	// rotations is how many there are in a row in chapter 2.
	rotations int
	// publicName tells this process to be part three, inside its namespace, and where its files are.
	publicName string
}

func parse() options {
	var o options
	flag.StringVar(&o.binary, "keywright", "", "a built `file` to use instead of building one from this source tree")
	flag.BoolVar(&o.verbose, "v", false, "show what the programs print, on stderr")
	flag.IntVar(&o.rotations, "rotations", 20, "how many rotations chapter 2 makes in a row, at least 1")
	flag.StringVar(&o.publicName, "public-name", "", "internal: be part three, with files in this `directory`")
	flag.Parse()
	return o
}

func run() int {
	o := parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := tell(ctx, o)
	switch {
	case ctx.Err() != nil:
		if o.publicName == "" { // part one says it for all
			fmt.Fprintln(os.Stderr, "\ninterrupted: everything that ran has been stopped")
		}
		return 130 // as shells report an end by SIGINT
	case err != nil:
		fmt.Fprintln(os.Stderr, "\nThe demo failed:", err)
		return 1
	}
	return 0
}

// tell runs the part that this process is for.
func tell(ctx context.Context, o options) error {
	if o.publicName != "" {
		return publicNamePart(ctx, o)
	}
	if o.rotations < 1 {
		return fmt.Errorf("%d rotations tell no story: give -rotations 1 or more", o.rotations)
	}
	return wholeStory(ctx, o)
}

func wholeStory(ctx context.Context, o options) (err error) {
	root, err := sourceTree()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "keywright-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &stage{root: root, dir: dir, options: o}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if err := s.postgresPart(ctx); err != nil {
		return err
	}
	if err := s.enterPublicNamePart(ctx); err != nil {
		return err
	}
	fmt.Println("\nThat was all; it has been stopped and removed. To keep one of your own:" +
		"\n  go run ./cmd/keywright dev --dir ~/keywright-dev --listen 127.0.0.1:8443")
	return nil
}

// stage is what the parts share: where things are.
type stage struct {
	root string // of the source tree
	dir  string // for this run, removed at its end
	options
}

// sourceTree finds the directory of the nearest go.mod upward.
func sourceTree() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("run the demo inside Keywright's source tree: no go.mod is here or above")
		}
		dir = parent
	}
}
