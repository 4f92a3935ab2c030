package pgtest

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// Standby makes a streaming standby of the server, which answers reads on a port of its own and has the same accounts. The caller must call its
// Stop, before the server's.
func (s *Server) Standby(ctx context.Context) (*Server, error) {
	standby := &Server{Password: s.Password, bin: s.bin, log: s.log}
	return standby, standby.launch(ctx, func(ctx context.Context) error { return standby.copy(ctx, s) })
}

// copy takes a base backup of the primary, and notes there how to follow it.
func (s *Server) copy(ctx context.Context, primary *Server) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "pg_basebackup"), "-D", s.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(primary.Port),
		"-U", Superuser, "--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync", "--no-password")
	cmd.Env = []string{"PGPASSWORD=" + primary.Password}
	return s.daemon.Do("copying the primary", cmd)
}

// Crash ends the server without a checkpoint, so that it loses what it had not written yet, and starts it again on its port.
func (s *Server) Crash(ctx context.Context) error {
	return s.daemon.Restart(ctx, syscall.SIGQUIT)
}
