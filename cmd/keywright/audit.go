package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/auditing"
	"github.com/keywright/keywright/internal/door/native"
)

// verifyAudit proves a log from the files of a server's directory: DIR/audit holds the log, and DIR/audit.pub the key that its
// checkpoints are signed by.
func verifyAudit(ctx context.Context, dir string, checkpoint []byte) (*api.AuditReport, error) {
	key, err := os.ReadFile(filepath.Join(dir, "audit.pub"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no directory of a server: it holds no audit.pub", dir)
	}
	if err != nil {
		return nil, err
	}
	verifier, err := auditing.ParseKey(string(key))
	if err != nil {
		return nil, err
	}
	report, err := auditing.VerifyDir(ctx, filepath.Join(dir, "audit"), verifier, checkpoint)
	if err != nil {
		return nil, err
	}
	return native.Report(report), nil
}
