// Command install installs the dependencies of the Node.js packages that its arguments name, directories with a
// package-lock.json, into the cache of the source tree, where tests and the demo look for them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/keywright/keywright/e2e/npm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := install(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func install(ctx context.Context, dirs []string) error {
	for _, dir := range dirs {
		cache, err := npm.CacheDir(dir)
		if err != nil {
			return err
		}
		if _, err := npm.Install(ctx, npm.Config{Package: dir, Cache: cache, Log: os.Stderr}); err != nil {
			return err
		}
	}
	return nil
}
