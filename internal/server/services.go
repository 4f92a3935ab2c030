package server

import (
	"crypto/tls"
	"net/http"
	"path/filepath"
	"time"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/auditing"
	"github.com/keywright/keywright/internal/backup"
	"github.com/keywright/keywright/internal/composition"
	"github.com/keywright/keywright/internal/directory"
	"github.com/keywright/keywright/internal/feed"
	"github.com/keywright/keywright/internal/membership"
	"github.com/keywright/keywright/internal/tenancy"
)

// openServices makes the services of the control plane.
func (k *core) openServices(c *Config, base string) (err error) {
	if k.access, err = access.New(access.Config{Guard: k.guard, Store: k.store, Clock: c.Clock}); err != nil {
		return err
	}
	if k.tenancy, err = tenancy.New(tenancy.Config{Guard: k.guard, Store: k.store, Keys: k.keys, Clock: c.Clock, Identities: tenancy.FromIdentity(k.identity),
		Duties: k.access, Logger: c.Logger}); err != nil {
		return err
	}
	if k.directory, err = directory.New(directory.Config{Guard: k.guard, Store: k.store, Identity: k.identity, Duties: k.access, Clock: c.Clock}); err != nil {
		return err
	}
	if k.feed, err = feed.New(feed.Config{Guard: k.guard, Store: k.store, Secrets: k.secrets, Clock: c.Clock,
		MaxStreams: streams(c.Limits.MaxConnections)}); err != nil {
		return err
	}
	k.auditKept = c.AuditShippedKept
	k.reader, err = archive.NewReader(archive.Config{Store: k.store, Own: k.audit.log, Dir: filepath.Join(c.Dir, auditDir), Sealer: k.keys, Peers: peers, Clock: c.Clock})
	if err != nil {
		return err
	}
	k.auditing, err = auditing.New(auditing.Config{Guard: k.guard, Store: k.store, Log: k.audit.log, CatchUp: k.audit.sequencer.CatchUp, Reader: k.reader, Key: k.audit.key})
	if err != nil {
		return err
	}
	if k.membership, err = membership.New(membership.Config{Guard: k.guard, Nodes: k.nodes}); err != nil {
		return err
	}
	if err := k.openBackups(c); err != nil {
		return err
	}
	if err := k.openFullBackups(c); err != nil {
		return err
	}
	if err := k.openLedger(c); err != nil {
		return err
	}
	if err := k.openEndpoints(c); err != nil {
		return err
	}
	if k.composed, err = composition.New(composition.Config{Guard: k.guard, Store: k.store, Secrets: k.secrets, Clock: c.Clock, Logger: c.Logger}); err != nil {
		return err
	}
	return k.openRotation(c, base)
}

// openBackups makes the service that copies whole vaults. Where their containers are is said by callers, so they are reached as endpoints of events are: on no
// address that the operator has for itself, without a proxy, and without following redirections.
func (k *core) openBackups(c *Config) (err error) {
	n := network(c)
	transport := &http.Transport{DialContext: n.Dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: n.Roots}, TLSHandshakeTimeout: backupHandshake,
		MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute}
	k.backups, err = backup.New(backup.Config{Guard: k.guard, Store: k.store, Node: k.audit.node, Secrets: k.secrets, Keys: k.cryptoKeys, Certificates: k.certificates, Sealing: k.keys, Clock: c.Clock,
		Logger: c.Logger, Open: backup.Blobs{Transport: transport, Plain: c.EventLoopback}.Open})
	if err == nil {
		k.onShutdown(k.backups.Stop)
	}
	return err
}

// backupHandshake bounds the TLS handshake with a blob container.
const backupHandshake = 10 * time.Second

// streams is how many streams of changes may be open at once: half of the connections, so that reads always find one.
func streams(connections int) int { return max(1, connections/2) }
