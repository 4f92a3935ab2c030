package client

import (
	"context"
	"io"
	"iter"
	"net/url"
	"strconv"

	"github.com/keywright/keywright/client/api"
)

const backupPath = "/api/v1/backups"

func backupAt(id string) string { return backupPath + "/" + url.PathEscape(id) }

// Backups lists the backups of the installation, newest first.
func (c *Client) Backups(ctx context.Context) iter.Seq2[*api.Backup, error] {
	return pages(ctx, c, backupPath, nil, func(l *api.BackupPage) ([]api.Backup, string) { return l.Items, l.Next })
}

// Backup returns one backup of the installation.
func (c *Client) Backup(ctx context.Context, id string) (*api.Backup, error) {
	return do[api.Backup](ctx, c, "GET", backupAt(id), nil, nil)
}

// CreateBackup begins a backup of the installation.
func (c *Client) CreateBackup(ctx context.Context, in api.CreateBackup) (*api.Backup, error) {
	return do[api.Backup](ctx, c, "POST", backupPath, nil, in)
}

// VerifyBackup begins a proof of a backup.
func (c *Client) VerifyBackup(ctx context.Context, id string, in api.VerifyBackup) (*api.Backup, error) {
	return do[api.Backup](ctx, c, "POST", backupAt(id)+"/verify", nil, in)
}

// DeleteBackup deletes a backup and its file. With forget the server forgets one whose file it does not have.
func (c *Client) DeleteBackup(ctx context.Context, id string, forget bool) error {
	q := url.Values{}
	if forget {
		q.Set("forget", strconv.FormatBool(forget))
	}
	resp, err := c.send(ctx, "DELETE", backupAt(id), q, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// DownloadBackup writes the file of a backup to w, as encrypted as it is. After an error what was written is not whole.
func (c *Client) DownloadBackup(ctx context.Context, id string, w io.Writer) error {
	resp, err := c.patient().send(ctx, "GET", backupAt(id)+"/content", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(w, resp.Body)
	if err == nil && resp.ContentLength >= 0 && n != resp.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	return err
}
