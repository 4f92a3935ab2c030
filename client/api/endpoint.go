package api

import "time"

// SetCertificateEndpoint registers a place where a certificate is presented, or changes the one of that name.
type SetCertificateEndpoint struct {
	// Certificate is the vault's certificate that is to be presented there; absent for one that is kept elsewhere and only watched.
	Certificate string `json:"certificate,omitempty"`
	// Address is a host and a port, such as shop.example:443. Every address behind the name is looked at.
	Address string `json:"address"`
	// ServerName is asked for and has to stand in the certificate; the address's host when absent.
	ServerName string `json:"serverName,omitempty"`
	// Protocol is tls (when absent), smtp, imap, ldap or postgres: what is said before TLS begins.
	Protocol string `json:"protocol,omitempty"`
	// EverySeconds is how often it is looked at, TimeoutSeconds how long one address may take; an hour and 10 seconds when absent.
	EverySeconds   int64 `json:"everySeconds,omitempty"`
	TimeoutSeconds int64 `json:"timeoutSeconds,omitempty"`
	// GraceSeconds is how long a renewed certificate may stay unserved before that is an alarm; an hour when absent.
	GraceSeconds int64 `json:"graceSeconds,omitempty"`
	// CA has certificates in PEM that are trusted beside those of the server's system and of the stored chain.
	CA string `json:"ca,omitempty"`
	EndpointCare
}

// EndpointCare says who sees to the alarms of an endpoint, in the words of the tasks of rotations.
type EndpointCare struct {
	// Assignee is a person or a queue, Team hears of an alarm at the escalation. Those that are addresses of mail are written to.
	Assignee string `json:"assignee,omitempty"`
	Team     string `json:"team,omitempty"`
	// WithinSeconds is by when alarms should be seen to, 30 days when absent; the end of the oldest certificate still presented, if that comes first.
	WithinSeconds int64 `json:"withinSeconds,omitempty"`
	// RemindSeconds is how long before that reminders go out, 30, 14, 7 and 1 days when absent. EscalateSeconds is when the team hears of it, 3 days before when absent.
	RemindSeconds   []int64 `json:"remindSeconds,omitempty"`
	EscalateSeconds int64   `json:"escalateSeconds,omitempty"`
}

// EndpointTask asks people to see to the alarms of an endpoint.
type EndpointTask struct {
	Opened time.Time `json:"opened"`
	Due    time.Time `json:"due"`
	// Reminders are those that are still to go out, Escalate is when the team hears of it.
	Reminders []time.Time `json:"reminders,omitempty"`
	Escalate  time.Time   `json:"escalate"`
	Escalated bool        `json:"escalated,omitempty"`
	// Acknowledged is when somebody took it on, and By who.
	Acknowledged *time.Time `json:"acknowledged,omitempty"`
	By           string     `json:"by,omitempty"`
}

// CertificateEndpoint is a place where a certificate is presented, and what was seen there.
type CertificateEndpoint struct {
	Vault          string `json:"vault"`
	Name           string `json:"name"`
	Certificate    string `json:"certificate,omitempty"`
	Address        string `json:"address"`
	ServerName     string `json:"serverName"`
	Protocol       string `json:"protocol"`
	EverySeconds   int64  `json:"everySeconds"`
	TimeoutSeconds int64  `json:"timeoutSeconds"`
	GraceSeconds   int64  `json:"graceSeconds"`
	CA             string `json:"ca,omitempty"`
	EndpointCare

	// State is new (not looked at yet), ok or alarm. Level is that of the worst alarm: notice, warning or critical.
	State string `json:"state"`
	Level string `json:"level,omitempty"`
	// Expected is the version that was to be presented when it was looked at last.
	Expected string `json:"expected,omitempty"`
	// Oldest is the certificate that ends first of those still presented, SecondsLeft until its end, negative behind it.
	Oldest      *PresentedCertificate `json:"oldest,omitempty"`
	SecondsLeft *int64                `json:"secondsLeft,omitempty"`
	Alarms      []EndpointAlarm       `json:"alarms,omitempty"`
	// Task is who sees to the alarms; absent while all is well.
	Task *EndpointTask `json:"task,omitempty"`
	// Addresses are those behind the name, with what each presents.
	Addresses []EndpointAddress `json:"addresses,omitempty"`
	Checked   *time.Time        `json:"checked,omitempty"`
	Next      *time.Time        `json:"next,omitempty"`
	Created   time.Time         `json:"created"`
	Updated   time.Time         `json:"updated"`
}

// PresentedCertificate is a certificate as a server presents it.
type PresentedCertificate struct {
	// SHA256 is the digest of the certificate, Serial its number, both hexadecimal. Subject and Issuer are X.500 names (RFC 4514).
	SHA256    string    `json:"sha256"`
	Serial    string    `json:"serial"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// Version is the vault's version that it is; absent for none.
	Version string `json:"version,omitempty"`
}

// EndpointAddress is one address behind the name of an endpoint.
type EndpointAddress struct {
	Address string `json:"address"`
	// Seen is when it last presented a certificate, and Presented what that was.
	Seen      *time.Time            `json:"seen,omitempty"`
	Presented *PresentedCertificate `json:"presented,omitempty"`
	// Failures counts the looks since then that showed nothing, Error says why.
	Failures int    `json:"failures,omitempty"`
	Error    string `json:"error,omitempty"`
}

// EndpointAlarm is something wrong at an endpoint. Raised is absent while it may pass by itself.
type EndpointAlarm struct {
	// Kind is expired, not-yet-valid, expiring, outdated, foreign, wrong-name, incomplete, untrusted or unreachable.
	Kind      string     `json:"kind"`
	Level     string     `json:"level"`
	Since     time.Time  `json:"since"`
	Raised    *time.Time `json:"raised,omitempty"`
	Detail    string     `json:"detail"`
	Addresses []string   `json:"addresses,omitempty"`
}

// CertificateEndpointList is a page of endpoints.
type CertificateEndpointList struct {
	Items []CertificateEndpoint `json:"items"`
	Next  string                `json:"next,omitempty"`
}
