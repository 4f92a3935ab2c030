package api

import "time"

// Status is what an operator wants to know of a server.
type Status struct {
	Version string    `json:"version"`
	Node    string    `json:"node"`
	Started time.Time `json:"started"`
	// Region is the location of vaults for which nobody names one.
	Region string `json:"region"`
	// Seal names what protects the root key.
	Seal string `json:"seal"`
	// Store is "ok", or says what is wrong.
	Store string      `json:"store"`
	Audit AuditStatus `json:"audit"`
	// Limits are those in force.
	Limits Limits `json:"limits"`
	// FIPS says whether the process runs in the FIPS 140-3 mode of its cryptographic module.
	FIPS bool `json:"fips"`
	// FIPSModule is the version of that module, and OutsideFIPS what the server can be asked to do that lies outside of it, in that mode too.
	FIPSModule  string   `json:"fipsModule"`
	OutsideFIPS []string `json:"outsideFips"`
	// Token holds the keys of -HSM types; absent when they are in the store like all others.
	Token *TokenStatus `json:"token,omitempty"`
	// SchedulesPaused is why nothing of the caller's tenant is rotated by schedule now; absent when it is.
	SchedulesPaused *SchedulePause `json:"schedulesPaused,omitempty"`
	// Caller is who asks.
	Caller Caller `json:"caller"`
}

// TokenStatus is a PKCS#11 token, as it describes itself.
type TokenStatus struct {
	Label        string `json:"label"`
	Manufacturer string `json:"manufacturer"`
	Model        string `json:"model"`
	Firmware     string `json:"firmware"`
	// Hardware is true for a token that says that it is a piece of hardware. Nothing is claimed of its certification.
	Hardware bool `json:"hardware"`
}

// AuditStatus is the state of the node's audit log.
type AuditStatus struct {
	// Durability is what an acknowledged record of a read survives: "os" the end of the process, "fsync" power loss.
	Durability string `json:"durability"`
	Records    int64  `json:"records"`
	Synced     int64  `json:"synced"`
	// ReserveFree of ReserveTarget segments are there for when the disk is full.
	ReserveFree   int `json:"reserveFree"`
	ReserveTarget int `json:"reserveTarget"`
	// Alarm says what is wrong; empty while all is well.
	Alarm string `json:"alarm,omitempty"`
}

// Limits bound what a caller may ask. Zero means no bound.
type Limits struct {
	MaxSecretBytes       int     `json:"maxSecretBytes"`
	MaxVersions          int     `json:"maxVersions"`
	RequestsPerPrincipal float64 `json:"requestsPerSecondPerPrincipal"`
	RequestsPerVault     float64 `json:"requestsPerSecondPerVault"`
	// MaxBackupBytes bounds the body with which a secret is restored.
	MaxBackupBytes int64 `json:"maxBackupBytes"`
	// MaxConnections bounds the open connections of a listener, MaxBodyMemory the bytes of all request bodies that are held at once.
	MaxConnections int   `json:"maxConnections"`
	MaxBodyMemory  int64 `json:"maxBodyMemoryBytes"`
	// Burst is how many seconds' worth of requests may come at once.
	Burst float64 `json:"burstSeconds"`
}

// Caller is an authenticated principal.
type Caller struct {
	Principal string   `json:"principal"`
	Kind      string   `json:"kind"`
	Tenant    string   `json:"tenant"`
	Name      string   `json:"name,omitempty"`
	UPN       string   `json:"upn,omitempty"`
	AppID     string   `json:"appId,omitempty"`
	Groups    []string `json:"groups,omitempty"`
}

// Health is the answer of /healthz and /readyz.
type Health struct {
	// Status is HealthOK, or HealthFailing when any check fails.
	Status string `json:"status"`
	// Checks are what readiness consists of; /healthz has none.
	Checks []Check `json:"checks,omitempty"`
}

// The words of a status.
const (
	HealthOK      = "ok"
	HealthFailing = "failing"
)

// Check is one thing that a server needs to serve.
type Check struct {
	// Name is store, keyring, audit or clock.
	Name   string `json:"name"`
	Status string `json:"status"`
	// Detail says what is wrong; empty when nothing is.
	Detail string `json:"detail,omitempty"`
}
