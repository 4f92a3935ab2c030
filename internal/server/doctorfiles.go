package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/internal/config"
	"github.com/keywright/keywright/internal/seal"
)

func infoOf(e os.DirEntry) (os.FileInfo, error) {
	if e == nil {
		return nil, os.ErrNotExist
	}
	return e.Info()
}

func ownedByUs(info os.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid()
}

// slowSync is what a disk may take to make a write durable before every change is felt to be slow.
const slowSync = 50 * time.Millisecond

// disk looks at the space, the file system and how long a write takes until it is durable.
func (d *doctor) disk(dir string) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		d.fail("disk", "check the directory", "%s cannot be looked at: %s", dir, err)
		return
	}
	free, whole := int64(s.Bavail)*s.Bsize, int64(s.Blocks)*s.Bsize
	reserve := int64(d.file.Audit.Reserve)
	switch {
	case free < 64<<20:
		d.fail("disk", "free space, or take a larger disk", "%s has %s left", dir, rounded(free))
	case free < reserve/2 || whole > 0 && free < whole/20:
		d.warn("disk", "free space, or take a larger disk", "%s has %s left, and the audit log reserves %s", dir, rounded(free), config.Bytes(reserve))
	default:
		d.ok("disk", "%s has %s left", dir, rounded(free))
	}
	if s.Files > 0 && s.Ffree < 1000 {
		d.warn("disk", "remove files, or make a file system with more inodes", "%s has room for %d files", dir, s.Ffree)
	}
	if name, why := unsafeFileSystem(int64(s.Type)); name != "" {
		d.warn("file system", "put the directory on a local disk", "%s is on %s: %s", dir, name, why)
	}
	took, err := syncTime(dir)
	switch {
	case err != nil:
		d.fail("durability", "check that this user may write there, and the disk", "a file in %s could not be made durable: %s", dir, err)
	case took > slowSync:
		d.warn("durability", "take a faster disk: every change waits for it", "a write in %s is durable after %s", dir, took.Round(time.Millisecond))
	default:
		d.ok("durability", "a write in %s is durable after %s", dir, took.Round(10*time.Microsecond))
	}
}

// rounded is a size in whole MiB, or in whole GiB from ten of them on.
func rounded(n int64) string {
	if n >= 10<<30 {
		return config.Bytes(n >> 30 << 30).String()
	}
	return config.Bytes(n >> 20 << 20).String()
}

// unsafeFileSystem names file systems on which locks or durability are not what the store and the audit log need (statfs(2) has the numbers).
func unsafeFileSystem(kind int64) (name, why string) {
	switch kind {
	case unix.NFS_SUPER_MAGIC:
		return "NFS", "locks and durability depend on its server"
	case 0xff534d42, 0xfe534d42: // CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC
		return "SMB", "locks and durability depend on its server"
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return "memory", "all of it is gone with the power"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "a container's own layer", "all of it is gone with the container"
	case unix.FUSE_SUPER_MAGIC:
		return "FUSE", "locks and durability depend on the program behind it"
	}
	return "", ""
}

// syncTime is the median of a few durable writes.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took []time.Duration
	for i := range 5 {
		began := time.Now()
		if _, err := f.WriteAt(make([]byte, 4096), int64(i)*4096); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// seal opens the seal that is configured. missing is the key file that is not there: init makes it, unless it was lost since.
func (d *doctor) seal() (s seal.Seal, end func() error, missing string) {
	if files := d.config.Seal.KeyFiles; len(files) > 0 {
		if _, err := os.Lstat(files[0]); errors.Is(err, os.ErrNotExist) {
			return nil, nil, files[0]
		}
	}
	s, end, err := d.config.Seal.Open(d.config.Clock)
	if err != nil {
		d.fail("seal", "see what is said", "%s", err)
		return nil, nil, ""
	}
	return s, end, ""
}

// certificates looks at the pairs, their ends and the names that they cover.
func (d *doctor) certificates() {
	const check = "certificates"
	certs, err := openCertificates(pairs(d.file.TLS.Certificates), d.file.TLS.Warn, d.config.Clock, slog.New(slog.DiscardHandler))
	if err != nil {
		d.fail(check, "put a pair that works into the files", "%s", err)
		return
	}
	if left := time.Until(certs.ends()); left < d.file.TLS.Warn {
		d.warn(check, "put a new certificate into its file; the server takes it while it runs", "a certificate ends on %s, in %s", certs.ends().UTC().Format(time.RFC3339), left.Round(time.Hour))
	} else {
		d.ok(check, "the first one to end does so on %s", certs.ends().UTC().Format(time.RFC3339))
	}
	for i, pair := range *certs.serving.Load() {
		if wrong := chainProblem(pair); wrong != "" {
			d.warn(check, "put the certificate first and those of its issuers behind it, without the root", "%s: %s", d.file.TLS.Certificates[i].CertificateFile, wrong)
		}
	}
	n := namesOf(&d.file.Names, &net.TCPAddr{Port: 443})
	for _, name := range n.all() {
		if !certs.covers(name) {
			d.fail("names", "get a certificate for the name; one for *."+n.suffix+" covers every vault", "no certificate covers %s, so that its clients refuse the server", name)
		}
	}
}

// chainProblem says why clients might not find the way from a certificate to a root.
func chainProblem(pair *tls.Certificate) string {
	leaf := pair.Leaf
	if len(pair.Certificate) == 1 && leaf.CheckSignatureFrom(leaf) != nil && string(leaf.RawIssuer) != string(leaf.RawSubject) {
		return "it has no intermediate certificate; clients that trust its root alone refuse it unless the root issued it directly"
	}
	chain, err := parseChain(pair.Certificate)
	if err != nil {
		return err.Error()
	}
	for i := 1; i < len(chain); i++ {
		if chain[i-1].CheckSignatureFrom(chain[i]) != nil {
			return "the certificate of " + chain[i].Subject.String() + " did not issue the one before it"
		}
		if time.Now().After(chain[i].NotAfter) {
			return "the intermediate certificate of " + chain[i].Subject.String() + " is over"
		}
	}
	return ""
}

// ports looks whether the listeners can have their addresses, or whether this very server has them.
func (d *doctor) ports(ctx context.Context) {
	running := false
	for _, name := range listenerNames {
		address := addressOf(d.file, name)
		if address == "" {
			continue
		}
		check := "listener " + name
		l, err := net.Listen("tcp", address)
		switch {
		case err == nil:
			l.Close()
			d.ok(check, "%s is free", address)
		case errors.Is(err, syscall.EADDRINUSE):
			if d.presented(ctx, address) {
				running = true
				d.ok(check, "%s is taken by a server with this configuration's certificate", address)
			} else if running && (name == "plain" || name == "identity") {
				d.ok(check, "%s is taken, by the server that runs", address)
			} else {
				d.fail(check, "end what has it, or write another address", "%s is taken by another program", address)
			}
		case errors.Is(err, syscall.EACCES):
			// The service may well: its unit gives it what a shell does not have.
			d.warn(check, "give the service CAP_NET_BIND_SERVICE, as deploy/systemd does, or write a port from 1024 on", "this user may not have %s by itself", address)
		default:
			d.fail(check, "write an address of this machine", "%s cannot be had: %s", address, err)
		}
	}
}

// presented reports whether one of our certificates is presented at the address.
func (d *doctor) presented(ctx context.Context, address string) bool {
	if ap, err := netip.ParseAddrPort(address); err == nil && ap.Addr().IsUnspecified() {
		address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port()).String()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	// Who it is, is what is looked at.
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer c.Close()
	certs, err := openCertificates(pairs(d.file.TLS.Certificates), 0, d.config.Clock, slog.New(slog.DiscardHandler))
	if err != nil {
		return false
	}
	peer := c.(*tls.Conn).ConnectionState().PeerCertificates
	return len(peer) > 0 && slices.ContainsFunc(*certs.serving.Load(), func(p *tls.Certificate) bool { return p.Leaf.Equal(peer[0]) })
}
