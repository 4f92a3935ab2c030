// Command trypostgres runs a PostgreSQL server that is gone when it ends, to try rotations on. It writes DIR/env, whose lines TRY_ENDPOINT and
// TRY_ADMIN_URL say where it is and how its superuser logs in, and then prints "ready".
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/keywright/keywright/e2e/pgtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "trypostgres:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: trypostgres DIR")
	}
	if err := os.MkdirAll(args[0], 0o700); err != nil {
		return err
	}
	s, err := pgtest.Start(ctx, pgtest.Config{})
	if err != nil {
		return err
	}
	env := fmt.Sprintf("TRY_ENDPOINT=%s\nTRY_ADMIN_URL=%s\n", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), s.AdminDSN())
	if err := os.WriteFile(filepath.Join(args[0], "env"), []byte(env), 0o600); err != nil {
		s.Stop()
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	return s.Stop()
}
