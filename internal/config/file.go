package config

import (
	"net/netip"
	"time"
)

// File is what a server is told.
type File struct {
	// The directory of this node's own files: its audit log and, with the engine sqlite, the store. `keywright init` makes it; only the server's user may enter it.
	Directory Path `yaml:"directory" required:"true" example:"/var/lib/keywright"`
	// The location of vaults for which nobody names one.
	Region string `yaml:"region" default:"local"`
	// The names by which clients reach the server.
	Names Names `yaml:"names" required:"true"`
	// Where the server listens. There has to be a public or a private listener; without a public one nothing is reached from outside the private networks.
	Listeners Listeners `yaml:"listeners" required:"true"`
	// The certificates of the TLS listeners.
	TLS TLS `yaml:"tls" required:"true"`
	// Where everything is kept.
	Store Store `yaml:"store"`
	// What protects the root key. Exactly one of the seals is named.
	Seal Seal `yaml:"seal" required:"true"`
	// The node's audit log.
	Audit Audit `yaml:"audit"`
	// What callers may ask.
	Limits Limits `yaml:"limits"`
	// How people are written to. Without it there are events alone.
	Mail *Mail `yaml:"mail"`
	// Where traces go. Without it there are none.
	Tracing *Tracing `yaml:"tracing"`
	// The server's log, on standard error.
	Log Log `yaml:"log"`
	// Which networks the server may reach, at addresses that its users name, although they are refused otherwise: link-local ones, metadata services and, outside of this list, loop-back.
	Outbound Outbound `yaml:"outbound"`
	// How the answers to challenges of ACME clients that enrol here are looked for.
	ACME ACME `yaml:"acme"`
	// The engine of rotations.
	Rotation Rotation `yaml:"rotation"`
	// Backups of the whole installation.
	Backup Backup `yaml:"backup"`
	// The PKCS#11 token that holds keys of -HSM types. Without it they are kept like all others.
	Token *Token `yaml:"token"`
	// The keys that protect everything.
	Keys Keys `yaml:"keys"`
	// How the server ends.
	Shutdown Shutdown `yaml:"shutdown"`
}

// Keys are those that protect everything.
type Keys struct {
	// How long backups of secrets, keys and certificates, and copies of vaults, are kept. So long after the last one a backup key that was replaced is destroyed, and what it sealed cannot be restored any more. 0 keeps them for ever.
	BackupsKept time.Duration `yaml:"backupsKept" default:"0s" min:"0s" max:"876000h"`
}

// Names are the names by which clients reach the server.
type Names struct {
	// The DNS suffix of vaults: the vault `payroll` is at `payroll.SUFFIX`.
	Suffix Name `yaml:"suffix" required:"true" example:"vault.example.org"`
	// The name of the token service. When missing: `login.` and the suffix without its first label.
	Login Name `yaml:"login" example:"login.example.org"`
	// The name of Resource Manager, which az and Terraform ask. When missing: `arm.` and the suffix without its first label.
	Management Name `yaml:"management" example:"arm.example.org"`
	// The name of directory look-ups. When missing: `graph.` and the suffix without its first label.
	Directory Name `yaml:"directory" example:"graph.example.org"`
	// The name of the native API. When missing: the suffix without its first label.
	API Name `yaml:"api" example:"example.org"`
	// The port that clients use, where it is not that of the public listener: that of a load balancer in front, say.
	Port int `yaml:"port" min:"1" max:"65535" example:"443"`
	// How challenges name the tenant. With `adfs` client libraries ask no public host about the authority; applications that are configured with the tenant's id need `id`.
	ChallengeTenant string `yaml:"challengeTenant" oneof:"adfs,id" default:"adfs"`
}

// Listeners say where the server listens.
type Listeners struct {
	// Serves vaults, tokens, Resource Manager and the native API's data to everybody. Vaults whose public access is off refuse what comes this way. Without it the server has no public access at all.
	Public *Listener `yaml:"public"`
	// Serves the same to private networks. What comes this way passes the network rules of every vault: it is the only way to vaults whose public access is off.
	Private *PrivateListener `yaml:"private"`
	// Serves the administration of the native API, sign-in, health and metrics.
	Admin AdminListener `yaml:"admin"`
	// Serves, over plain http, what is asked before any trust is there: answers to ACME challenges of the kind http-01, and revocation lists, OCSP and certificates of internal authorities.
	Plain *PlainListener `yaml:"plain"`
	// Serves, over plain http on loop-back, the identity endpoint of workloads on this machine.
	Identity *IdentityListener `yaml:"identity"`
}

// Listener serves clients over TLS.
type Listener struct {
	// The address to listen on.
	Address Address `yaml:"address" required:"true" example:"0.0.0.0:443"`
	// Whether the administration of the native API is served here too.
	Administration bool `yaml:"administration" default:"false"`
	// Whether Resource Manager and directory look-ups are served here.
	Management bool `yaml:"management" default:"true"`
}

// PrivateListener serves private networks over TLS.
type PrivateListener struct {
	// The address to listen on.
	Address Address `yaml:"address" required:"true" example:"10.0.0.5:443"`
	// Whether the administration of the native API is served here too.
	Administration bool `yaml:"administration" default:"false"`
	// Whether Resource Manager and directory look-ups are served here.
	Management bool `yaml:"management" default:"true"`
	// The networks from which connections are taken. Others are closed at once, before a byte is read.
	Networks []netip.Prefix `yaml:"networks" required:"true" example:"10.0.0.0/8"`
	// Names that are answered here beside those of the server, such as a suffix that only private name servers know. When missing: those of the server alone.
	Names *Names `yaml:"names"`
}

// AdminListener serves administrators and monitoring over TLS.
type AdminListener struct {
	// The address to listen on.
	Address Address `yaml:"address" default:"127.0.0.1:8444"`
	// The networks from which connections are taken. When missing, all.
	Networks []netip.Prefix `yaml:"networks" example:"10.0.0.0/8"`
}

// PlainListener serves plain http.
type PlainListener struct {
	// The address to listen on.
	Address Address `yaml:"address" required:"true" example:"0.0.0.0:80"`
	// The URL at which others reach it. It stands in the certificates that internal authorities issue, as the place of revocation lists and OCSP.
	URL URL `yaml:"url" schemes:"http" required:"true" example:"http://pki.example.org"`
}

// IdentityListener serves workloads on the machine.
type IdentityListener struct {
	// The address to listen on; it is one of loop-back.
	Address Address `yaml:"address" required:"true" example:"127.0.0.1:8081"`
}

// TLS has the certificates of listeners.
type TLS struct {
	// Pairs of a certificate and its key. A client gets the first one that covers the name it asks for, or else the first.
	Certificates []Pair `yaml:"certificates" required:"true"`
	// The oldest version of TLS that is spoken.
	MinVersion string `yaml:"minVersion" oneof:"1.2,1.3" default:"1.2"`
	// How often the files are looked at for a new pair; SIGHUP makes the server look at once.
	Reload time.Duration `yaml:"reload" default:"30s" min:"1s" max:"24h"`
	// How long before its end a certificate that was not replaced raises an alarm.
	Warn time.Duration `yaml:"warn" default:"336h" min:"1h" max:"8760h"`
}

// Pair is a certificate and its key.
type Pair struct {
	// The certificate and those between it and the root, in PEM.
	CertificateFile Path `yaml:"certificateFile" needed:"yes" required:"true" example:"/etc/keywright/tls/tls.crt"`
	// Its key, in PEM.
	KeyFile SecretFile `yaml:"keyFile" required:"true" example:"/etc/keywright/tls/tls.key"`
}

// Store is where everything is kept.
type Store struct {
	// The engine: `sqlite` for one node, with the database in the directory; `postgres` for several nodes, or a database that is there already.
	Engine string `yaml:"engine" oneof:"sqlite,postgres" default:"sqlite"`
	// A file that holds the connection string of PostgreSQL, a URL or KEY=VALUE words. It is read at every start. Use `sslmode=verify-full`.
	DSNFile SecretFile `yaml:"dsnFile" example:"/etc/keywright/dsn"`
	// A file that holds the password of the database's user, where the connection string does not. It is read for every connection, so that the password can change.
	PasswordFile SecretFile `yaml:"passwordFile" example:"/etc/keywright/database-password"`
	// The schema that the store has to itself in that database.
	Schema string `yaml:"schema" default:"keywright"`
}

// Backup says how backups of the whole installation are made and kept.
type Backup struct {
	// The directory of their files. Without it none are made. Several nodes may share one.
	Directory Path `yaml:"directory" example:"/var/backups/keywright"`
	// Public keys as age-keygen prints them. Their identities, which lie offline, open the backups beside the seal.
	Recipients []string `yaml:"recipients" example:"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"`
	// How often a backup is made by itself; 0 for never.
	Every time.Duration `yaml:"every" default:"0s" min:"0s" max:"8760h"`
	// How long backups are kept.
	Keep time.Duration `yaml:"keep" default:"720h" min:"1h" max:"876000h"`
}

// Seal is what protects the root key.
type Seal struct {
	// Key files, newest first. The first one wraps, all of them open. `keywright init` makes the first when it is missing. Keep a copy elsewhere: without it nothing in the store ever opens again.
	KeyFiles []SecretFile `yaml:"keyFiles" example:"/etc/keywright/seal.key"`
	// A file that holds a passphrase.
	PassphraseFile SecretFile `yaml:"passphraseFile" example:"/etc/keywright/passphrase"`
	// A key in a PKCS#11 token, which `keywright init` makes when it is missing.
	Token *SealToken `yaml:"token"`
	// Shares that people hold: the server starts sealed, and serves nothing until enough of them were given with `keywright seal unseal`. Initialise with another seal, and move to shares with `keywright seal migrate`.
	Shares bool `yaml:"shares" default:"false"`
}

// SealToken is a key in a PKCS#11 token.
type SealToken struct {
	// The library that the token's maker ships.
	Module Path `yaml:"module" needed:"yes" required:"true" example:"/usr/lib/softhsm/libsofthsm2.so"`
	// The token's label.
	Label string `yaml:"label" required:"true" example:"keywright"`
	// A file that holds the PIN of the token's user.
	PINFile SecretFile `yaml:"pinFile" required:"true" example:"/etc/keywright/token-pin"`
	// The name of the key in the token.
	Key string `yaml:"key" default:"keywright-seal"`
}

// Audit is the node's audit log.
type Audit struct {
	// What an acknowledged audit record of a read survives: power loss (`fsync`), or the end of the process (`os`).
	Durability string `yaml:"durability" oneof:"fsync,os" default:"fsync"`
	// The size of one file of the log.
	Segment Bytes `yaml:"segment" default:"64MiB" min:"1MiB" max:"1GiB"`
	// Space that is kept for when the disk is full. A decision takes about 600 bytes.
	Reserve Bytes `yaml:"reserve" default:"1GiB" min:"1MiB" max:"1TiB"`
	// A directory to which signed checkpoints of the log are copied, best one where whoever administers this machine cannot change them.
	CheckpointDir Path `yaml:"checkpointDir" example:"/mnt/witness/keywright"`
	// An https URL below which signed checkpoints of the log are PUT.
	CheckpointURL URL `yaml:"checkpointURL" schemes:"https" example:"https://witness.example.org/keywright"`
	// How often nodes that share a database ship what they recorded to it. So much of a node's log is lost with its disk.
	ShipEvery time.Duration `yaml:"shipEvery" default:"5s" min:"100ms" max:"1m"`
	// How long the database keeps what nodes ship, a week at least; 0 keeps it for ever.
	ShippedKept time.Duration `yaml:"shippedKept" default:"0s"`
}

// Limits bound what callers may ask.
type Limits struct {
	// Most requests of one principal per second; 0 sets no bound.
	RatePerPrincipal float64 `yaml:"ratePerPrincipal" default:"0" min:"0" max:"1000000"`
	// Most requests to one vault per second; 0 sets no bound.
	RatePerVault float64 `yaml:"ratePerVault" default:"0" min:"0" max:"1000000"`
	// How many seconds' worth of requests may come at once.
	Burst float64 `yaml:"burst" default:"1" min:"0.01" max:"3600"`
	// The largest value of a secret.
	MaxSecret Bytes `yaml:"maxSecret" default:"25KiB" min:"1" max:"16MiB"`
	// Most versions of one object; 0 sets no bound.
	MaxVersions int `yaml:"maxVersions" default:"0" min:"0"`
	// The largest backup of one object that is taken.
	MaxBackup Bytes `yaml:"maxBackup" default:"64MiB" min:"1MiB" max:"1GiB"`
	// Most open connections of a listener; those beyond wait.
	MaxConnections int `yaml:"maxConnections" default:"10000" min:"16" max:"1000000"`
	// Most bytes of request bodies in memory at once; beyond them requests get 429.
	MaxBodyMemory Bytes `yaml:"maxBodyMemory" default:"256MiB" min:"1MiB" max:"1TiB"`
}

// Mail says where letters to contacts are handed over.
type Mail struct {
	// The relay: smtps with TLS from the start, smtp with STARTTLS.
	Relay URL `yaml:"relay" schemes:"smtps,smtp" required:"true" example:"smtps://keywright@mail.example.org:465"`
	// The sender.
	From string `yaml:"from" required:"true" example:"keywright@example.org"`
	// A file that holds the password of the relay's user.
	PasswordFile SecretFile `yaml:"passwordFile" example:"/etc/keywright/mail-password"`
	// Authorities that verify the relay, in PEM. When missing: the system's.
	CAFile Path `yaml:"caFile" needed:"yes" example:"/etc/keywright/mail-ca.pem"`
}

// Tracing says where traces go.
type Tracing struct {
	// A collector that takes the OpenTelemetry protocol over HTTP.
	Endpoint URL `yaml:"endpoint" schemes:"http,https" required:"true" example:"http://127.0.0.1:4318/v1/traces"`
}

// Log is the server's log.
type Log struct {
	// From which level on events are written.
	Level string `yaml:"level" oneof:"debug,info,warn,error" default:"info"`
	// The form of a line.
	Format string `yaml:"format" oneof:"json,text" default:"json"`
	// Requests that take at least so long are written at the level warn.
	SlowRequest time.Duration `yaml:"slowRequest" default:"1s" min:"1ms" max:"1h"`
}

// Outbound says what the server may reach.
type Outbound struct {
	// Networks of endpoints of events and of webhooks.
	Events []netip.Prefix `yaml:"events" example:"169.254.10.0/24"`
	// Networks of trusted OpenID Connect issuers.
	Issuers []netip.Prefix `yaml:"issuers" example:"169.254.10.0/24"`
	// Networks of endpoints at which certificates are watched.
	Endpoints []netip.Prefix `yaml:"endpoints" example:"169.254.10.0/24"`
	// Networks in which answers to ACME challenges are looked for.
	ACME []netip.Prefix `yaml:"acme" example:"169.254.10.0/24"`
}

// ACME says how challenges are looked at.
type ACME struct {
	// The port at which answers to http-01 are looked for.
	HTTPPort int `yaml:"httpPort" default:"80" min:"1" max:"65535"`
	// The port at which answers to tls-alpn-01 are looked for.
	TLSPort int `yaml:"tlsPort" default:"443" min:"1" max:"65535"`
	// The name server that is asked. When missing: the machine's own.
	Resolver Address `yaml:"resolver" example:"10.0.0.2:53"`
	// Names that issuers of vaults may prove at this server's own listeners, besides the hosts of their vaults: a tenant's id, a vault, or a vault and an issuer, and the name; with a dot in front also what is below it.
	Names []string `yaml:"names" example:"shop/letsencrypt=.example.com"`
}

// Rotation tunes the engine of rotations.
type Rotation struct {
	// How long a worker that died keeps its rotations from being continued by another.
	Lease time.Duration `yaml:"lease" default:"1m" min:"1s" max:"1h"`
	// How often a revocation looks whether consumers have moved.
	Look time.Duration `yaml:"look" default:"30s" min:"10ms" max:"1h"`
	// The least time between two logins of one rotation that may be refused: wrong logins lock accounts.
	Probe time.Duration `yaml:"probe" default:"30s" min:"10ms" max:"1h"`
	// How long after a promotion a target may still lose what it acknowledged; nothing is revoked before.
	Settle time.Duration `yaml:"settle" default:"1m" min:"0s" max:"24h"`
	// Whether policies may name files and programs of this machine, as the rotator nats needs it.
	Files bool `yaml:"files" default:"false"`
	// Programs that policies may run with the rotator exec.
	Programs []Path `yaml:"programs" example:"/usr/local/libexec/rotate-appliance"`
	// How old secrets may become that neither expire nor have a limit of their own or of their vault; 0s limits nothing.
	MaxAge time.Duration `yaml:"maxAge" default:"0s" min:"0s"`
}

// Token is a PKCS#11 token.
type Token struct {
	// The library that the token's maker ships.
	Module Path `yaml:"module" needed:"yes" required:"true" example:"/usr/lib/softhsm/libsofthsm2.so"`
	// The token's label.
	Label string `yaml:"label" required:"true" example:"keywright"`
	// A file that holds the PIN of the token's user.
	PINFile SecretFile `yaml:"pinFile" required:"true" example:"/etc/keywright/token-pin"`
}

// Shutdown says how the server ends.
type Shutdown struct {
	// How long the server says that it is about to end, and goes on serving, before it does: /readyz is 503, and connections close behind their answers. Behind a load balancer, longer than this takes to notice.
	Announce time.Duration `yaml:"announce" default:"0s" min:"0s" max:"10m"`
	// How long requests under way may go on after SIGTERM and the announcement. The server ends 1.5 s later at the latest.
	Drain time.Duration `yaml:"drain" default:"3s" min:"100ms" max:"10m"`
}
