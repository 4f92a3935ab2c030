package server

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/backup/full"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/token/pkcs11"
)

// Config is what every server needs to know.
type Config struct {
	// Dir holds the server's files. It is made when missing, for this user alone.
	Dir string
	// Turn is how long the turn of a node lasts without being renewed, for what one of several nodes at a time does; 0 means node.TurnLength. A shorter one is for
	// tests.
	Turn time.Duration
	// Region is the location of vaults for which nobody names one.
	Region string
	Limits Limits
	// Durability says what an acknowledged audit record of a read survives: the end of the process, or power loss.
	Durability audit.Durability
	// AuditSegmentBytes and AuditReserveBytes size the audit log's files; 0 means the log's defaults, 64 MiB and 1 GiB. The reserve is what
	// reads go on with while the disk is full: a record takes about 600 bytes, so that 1 GiB lasts for 1.7 million decisions.
	AuditSegmentBytes, AuditReserveBytes int64
	// AuditCopies are places to which checkpoints of the audit log are copied, besides the store: absolute paths of directories, or https URLs below which they
	// are PUT. They should be where whoever administers the server cannot change them.
	AuditCopies []string
	// AuditShipEvery is how often a node that shares its store ships its audit log there; archive.ShipEvery when zero.
	AuditShipEvery time.Duration
	// AuditShippedKept is how long the store keeps what nodes ship of their audit logs, a week at least; 0 keeps it for ever.
	AuditShippedKept time.Duration
	// SlowRequest is how long a request takes that is logged at warn level; 0 means DefaultSlowRequest, a negative one logs none.
	SlowRequest time.Duration
	// TraceEndpoint is the URL to which traces are sent, in the OpenTelemetry protocol over HTTP; empty sends none.
	TraceEndpoint string
	// EventLoopback permits event subscriptions whose endpoint is on this machine; EventAllow permits addresses that are refused otherwise, such
	// as those of a link-local network.
	EventLoopback bool
	EventAllow    []netip.Prefix
	// IssuerAllow permits addresses of outside OpenID Connect issuers that are refused otherwise: loop-back (unless EventLoopback is set),
	// link-local ones and metadata services. Private networks are not refused.
	IssuerAllow []netip.Prefix
	// EndpointAllow does the same for the endpoints of certificates.
	EndpointAllow []netip.Prefix
	// ChallengeNames say who may prove which names at the server's own listeners, by http-01 and tls-alpn-01, besides the hosts of their vaults.
	ChallengeNames []ChallengeName
	// Mail is how people are written to.
	Mail      Mail
	Enrolment Enrolment
	Rotation  Rotation
	// Store is where everything is kept.
	Store StoreConfig
	// Seal is what protects the root key.
	Seal SealConfig
	// Backup is how backups of the whole installation are made and kept.
	Backup full.Settings
	// BackupsKept is how long backups of objects are kept; 0 is for ever. See keyring.Config.
	BackupsKept time.Duration
	// WhileSealed serves a handler where the server will serve later, as long as it waits for shares; nil serves nothing meanwhile. It tells health and
	// readiness, and answers everything else with 503. stop ends that, without closing what is listened on.
	WhileSealed func(h http.Handler) (stop func(), err error)
	// Sealed is told how many shares the server waits for, once it does; nil when nobody wants to know.
	Sealed func(shares int)
	// Token is the PKCS#11 token that holds the keys of -HSM types; without a module and a label they are kept like all others.
	Token pkcs11.Config
	// Announce is how long the server says that it is about to end, and goes on serving, before it ends.
	Announce time.Duration
	// Drain is how long requests under way may go on at the end; 0 means 3 seconds.
	Drain time.Duration
	// Clock is the machine's when nil, Logger discards when nil.
	Clock  clock.Clock
	Logger *slog.Logger

	// mayMake says that what is missing is made: a development server makes it by itself, and Initialise for a production server.
	mayMake bool
}

// Limits bound what callers may ask. The status of the native API shows those in force.
type Limits struct {
	// Limits are the rates; none when zero.
	guard.Limits
	// MaxSecretBytes bounds one value; 0 means secret.DefaultMaxValueBytes. Bodies that set a secret may be so much larger as JSON needs.
	MaxSecretBytes int
	// MaxVersions bounds the versions of one secret; 0 means no bound.
	MaxVersions int
	// MaxBackupBytes bounds the body of a restore; 0 means object.DefaultMaxBackupBytes.
	MaxBackupBytes int64
	// MaxConnections bounds the open connections of each listener; 0 means DefaultMaxConnections. Those beyond wait.
	MaxConnections int
	// MaxBodyMemory bounds the bytes that the bodies of all requests hold at once; 0 means DefaultMaxBodyMemory. It has to hold the
	// largest body.
	MaxBodyMemory int64
}

// largestBody is about the largest body that a route takes: a backup, or a value of which each byte is escaped.
func (l *Limits) largestBody() int64 {
	backup, value := cmp.Or(l.MaxBackupBytes, object.DefaultMaxBackupBytes), cmp.Or(l.MaxSecretBytes, secret.DefaultMaxValueBytes)
	return max(backup, 6*int64(value)+1<<20)
}

// mostSecretBytes is the largest value that a server can be told to take. A set holds the value, its JSON and its ciphertext
// in memory at once.
const mostSecretBytes = 16 << 20

func (l *Limits) check() error {
	switch {
	case l.PerCaller < 0 || l.PerVault < 0 || l.Burst < 0:
		return errors.New("the request rates and their burst cannot be negative: give requests per second, or 0 for no bound")
	case l.MaxSecretBytes < 0 || l.MaxSecretBytes > mostSecretBytes:
		return fmt.Errorf("the largest value is to have %d bytes: give 1 to %d, or 0 for the default", l.MaxSecretBytes, mostSecretBytes)
	case l.MaxVersions < 0 || l.MaxBackupBytes < 0:
		return errors.New("the number of versions and the size of backups cannot be negative: give a bound, or 0 for the default")
	case l.MaxConnections < 0 || l.MaxBodyMemory < 0:
		return errors.New("the number of connections and the memory for request bodies cannot be negative: give a bound, or 0 for the default")
	case cmp.Or(l.MaxBodyMemory, DefaultMaxBodyMemory) < l.largestBody():
		return fmt.Errorf("the memory for request bodies is to be %d bytes, but one body may have %d: give at least that many", l.MaxBodyMemory,
			l.largestBody())
	}
	return nil
}

// DefaultSlowRequest is a thousand times what a cached read takes, and shorter than any client waits.
const DefaultSlowRequest = time.Second

// DefaultRegion is the location of vaults when the configuration names none.
const DefaultRegion = "local"

func (c *Config) complete() error {
	if c.Dir == "" {
		return errors.New("a server needs a directory for its files: name one with --dir")
	}
	if err := c.Limits.check(); err != nil {
		return err
	}
	if err := c.Seal.check(); err != nil {
		return err
	}
	c.Limits.MaxConnections = cmp.Or(c.Limits.MaxConnections, DefaultMaxConnections)
	c.Limits.MaxBodyMemory = cmp.Or(c.Limits.MaxBodyMemory, DefaultMaxBodyMemory)
	if c.AuditShippedKept != 0 && c.AuditShippedKept < archive.LeastKept {
		return fmt.Errorf("what nodes ship of their audit logs is to be kept for %s: give %s or more, or 0 for ever", c.AuditShippedKept, archive.LeastKept)
	}
	for _, place := range c.AuditCopies {
		if _, err := archive.NewSink(place, clock.System{}); err != nil {
			return err
		}
	}
	abs, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	c.Dir = abs
	if err := c.Backup.Check(); err != nil {
		return err
	}
	if c.Region == "" {
		c.Region = DefaultRegion
	}
	if c.SlowRequest == 0 {
		c.SlowRequest = DefaultSlowRequest
	}
	if c.Drain == 0 {
		c.Drain = drainTimeout
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
