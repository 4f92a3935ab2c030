package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keywright/keywright/client/api"
)

// LocalSocket is the name of the socket in the directory of a server.
const LocalSocket = "admin.sock"

// maxSocketPath is what the operating system takes as the address of a socket, in bytes (unix(7): 108 with a zero at the end).
const maxSocketPath = 107

// Local is a server on this machine, reached over the socket in its directory. Only the server's own user, and root, get through, without signing in:
// they have its files anyway.
type Local struct {
	c   *Client
	dir *os.File
}

// NewLocal prepares to call the server whose directory it is.
func NewLocal(dir string) (*Local, error) {
	l := new(Local)
	address := filepath.Join(dir, LocalSocket)
	if len(address) > maxSocketPath {
		var err error
		if l.dir, err = os.Open(dir); err != nil {
			return nil, fmt.Errorf("the directory of the server cannot be opened: %w", err)
		}
		address = fmt.Sprintf("/proc/self/fd/%d/%s", l.dir.Fd(), LocalSocket)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", address)
		if err != nil {
			return nil, fmt.Errorf("no server answers in %s: is it running, and are you its user? (%w)", dir, err)
		}
		return conn, nil
	}
	l.c = &Client{base: "http://local", http: &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 2 * time.Minute}, userAgent: "keywright-go"}
	return l, nil
}

// Close ends the use of the socket.
func (l *Local) Close() error {
	l.c.http.CloseIdleConnections()
	if l.dir == nil {
		return nil
	}
	return l.dir.Close()
}

const sealPath = "/v1/seal"

// SealStatus says what protects the root key.
func (l *Local) SealStatus(ctx context.Context) (*api.SealStatus, error) {
	return do[api.SealStatus](ctx, l.c, "GET", sealPath, nil, nil)
}

// GiveShare gives one share: to a server that is sealed, or to prove that new shares open.
func (l *Local) GiveShare(ctx context.Context, share string) (*api.SealStatus, error) {
	return do[api.SealStatus](ctx, l.c, "POST", sealPath+"/shares", nil, api.GiveShare{Share: strings.TrimSpace(share)})
}

// ResetShares forgets the shares that were given so far.
func (l *Local) ResetShares(ctx context.Context) (*api.SealStatus, error) {
	return do[api.SealStatus](ctx, l.c, "DELETE", sealPath+"/shares", nil, nil)
}

// MoveSeal begins to move the installation to another seal, and finishes unless shares have to be given, or the old seal is to be kept.
func (l *Local) MoveSeal(ctx context.Context, in api.MoveSeal) (*api.SealMoved, error) {
	return do[api.SealMoved](ctx, l.c, "POST", sealPath+"/move", nil, in)
}

// FinishSealMove drops what the old seal wrapped.
func (l *Local) FinishSealMove(ctx context.Context) (*api.SealStatus, error) {
	return do[api.SealStatus](ctx, l.c, "POST", sealPath+"/move/finish", nil, nil)
}

// GiveUpSealMove drops what the new seal wrapped.
func (l *Local) GiveUpSealMove(ctx context.Context) (*api.SealStatus, error) {
	return do[api.SealStatus](ctx, l.c, "DELETE", sealPath+"/move", nil, nil)
}
