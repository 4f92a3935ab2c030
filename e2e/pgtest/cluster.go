package pgtest

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Standby makes a streaming standby of the server, which answers reads on a port of its own and has the same accounts. The caller must call its
// Stop, before the server's.
func (s *Server) Standby(ctx context.Context) (*Server, error) {
	return s.StandbyAt(ctx, Config{Log: s.log})
}

// StandbyAt is Standby for one at another address. Settings and Durable of the configuration do not count: those of the primary do.
func (s *Server) StandbyAt(ctx context.Context, config Config) (*Server, error) {
	standby := newServer(s.bin, s.Password, config)
	return standby, standby.launch(ctx, config, func(ctx context.Context) error { return standby.copy(ctx, s) })
}

// copy takes a base backup of the primary, and notes there how to follow it.
func (s *Server) copy(ctx context.Context, primary *Server) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "pg_basebackup"), "-D", s.data(), "-h", primary.Host, "-p", strconv.Itoa(primary.Port),
		"-U", Superuser, "--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync", "--no-password")
	cmd.Env = []string{"PGPASSWORD=" + primary.Password}
	return s.daemon.Do("copying the primary", cmd)
}

// Synchronous makes every commit wait until a standby has it on its disk
// (https://www.postgresql.org/docs/15/warm-standby.html#SYNCHRONOUS-REPLICATION).
func (s *Server) Synchronous(ctx context.Context) error {
	return s.Exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
}

// Promote makes a standby the primary. Whoever calls it has made sure that the old one is over.
func (s *Server) Promote(ctx context.Context) error {
	return s.Exec(ctx, "SELECT pg_promote()")
}

// Kill ends the server as a crash would, for good.
func (s *Server) Kill() error { return s.daemon.Halt(syscall.SIGQUIT) }

// Pid is the process id of the server, the first of its processes.
func (s *Server) Pid() int { return s.daemon.Pid() }

// Halt ends the server with a signal, and keeps what it has for Restart: SIGINT ends it in order, SIGKILL takes its first process away and leaves the others
// to notice.
func (s *Server) Halt(sig syscall.Signal) error { return s.daemon.Halt(sig) }

// Restart starts a server that was halted, on its port. It is tried for a while: what was killed leaves processes that end by themselves, and no other server starts
// before they have.
func (s *Server) Restart(ctx context.Context) (err error) {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if err = s.daemon.Restart(ctx, syscall.SIGQUIT); err == nil || time.Now().After(end) || ctx.Err() != nil {
			return err
		}
	}
}

// Crash ends the server without a checkpoint, so that it loses what it had not written yet, and starts it again on its port.
func (s *Server) Crash(ctx context.Context) error {
	return s.daemon.Restart(ctx, syscall.SIGQUIT)
}
