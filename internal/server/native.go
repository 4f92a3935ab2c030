package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/door/azure"
	"github.com/keywright/keywright/internal/door/native"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/version"
)

// besideNative are the doors that the description of the native API covers too. The names are those of the installation's vaults.
func besideNative(n *names, k *core) []native.Described {
	return []native.Described{{Name: "azure", URL: "https://{vault}." + n.suffix + n.port, Routes: azure.Table(k.secrets, k.cryptoKeys, k.certificates),
		Description: "A vault, in the protocol of Azure Key Vault. The challenge of a vault names the resource of its tokens, which is not this API's."}}
}

// nativeDoor makes the door of the product's own API, whose resources are the addresses at which it is reached.
func (s *Server) nativeDoor(n *names, resources ...string) (http.Handler, error) {
	k := s.core
	return native.New(native.Config{Guard: k.guard, Callers: k.identity, Audiences: identity.NewAudiences(resources...), Secrets: k.secrets, Keys: k.cryptoKeys, Certificates: k.certificates, Endpoints: k.endpoints, Enrolment: k.enrolment,
		Tenancy: k.tenancy, Access: k.access, Directory: k.directory, Auditing: k.auditing, Backups: k.fullBackups, Copies: k.backups,
		Changes:    k.feed,
		Consumers:  k.consumers,
		Eventing:   k.eventing,
		Membership: k.membership,
		Rotation:   k.rotation,
		Composed:   k.composed,
		Beside:     besideNative(n, k),
		Status:     &status{core: k, config: &s.config, started: k.clock.Now()}, Clock: k.clock, Logger: k.log, Enter: k.enter, Observe: k.observe})
}

// status implements native.Status.
type status struct {
	core    *core
	config  *Config
	started time.Time
}

// Status implements native.Status.
func (s *status) Status(ctx context.Context) api.Status {
	k, log := s.core, s.core.audit.log.State()
	crypto := version.Crypto()
	out := api.Status{Version: version.String(), Node: k.audit.node, Started: s.started.UTC().Truncate(time.Microsecond), Region: s.config.Region, Seal: k.keys.SealName(), Store: "ok",
		FIPS: crypto.FIPS, FIPSModule: crypto.Module, OutsideFIPS: crypto.Outside, Token: k.tokenStatus(),
		Audit: api.AuditStatus{Durability: s.config.Durability.String(), Records: log.Records, Synced: log.Synced,
			ReserveFree: log.ReserveFree, ReserveTarget: log.ReserveTarget},
		Limits: api.Limits{MaxSecretBytes: k.secrets.MaxValueBytes, MaxVersions: k.secrets.MaxVersions, MaxBackupBytes: k.secrets.MaxBackupBytes,
			MaxConnections: s.config.Limits.MaxConnections, MaxBodyMemory: s.config.Limits.MaxBodyMemory,
			RequestsPerPrincipal: float64(k.guard.Limits.PerCaller), RequestsPerVault: float64(k.guard.Limits.PerVault), Burst: k.guard.Limits.Burst}}
	if err := k.store.Health(ctx); err != nil {
		out.Store = publicText(err)
	} else if err := k.storeAlarm(); err != nil {
		out.Store = publicText(err)
	}
	if log.Alarm != nil {
		out.Audit.Alarm = publicText(log.Alarm)
	}
	return out
}

// publicText is what may be told of an error: its own sentence, without the causes, which name paths of the machine.
func publicText(err error) string {
	if e := fault.As(err); e != nil {
		return e.Message
	}
	return "failing; the server's log says why"
}

// readyTimeout bounds how long the store may take to answer: whoever asks for readiness asks again within seconds.
const readyTimeout = 2 * time.Second

// Checks implements native.Status.
func (s *status) Checks(ctx context.Context) []api.Check {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	checks := []api.Check{{Name: "store"}, {Name: "keyring"}, {Name: "audit"}, {Name: "clock"}}
	if err := s.core.store.Health(ctx); err != nil {
		checks[0].Detail = publicText(err)
	}
	switch age := s.core.age(); {
	case !s.core.shared || age < guard.MaxAge || checks[0].Detail != "":
	case age == guard.Forever:
		checks[0].Detail = "another process is this node now, so that this one serves nothing: see whether the node's directory was copied, and end one of the two"
	default:
		checks[0].Detail = "this node has not heard from the store for " + age.Round(100*time.Millisecond).String() + ", so that it answers nothing from memory: restore its connection to the database"
	}
	if s.core.keys.Locked() {
		checks[1].Detail = "the keyring is locked: unlock it"
	}
	if s.core.audit.log.State().Closed {
		checks[2].Detail = "the audit log takes no records, so nothing is served: see the server's log"
	}
	for i := range checks {
		if checks[i].Status = api.HealthOK; checks[i].Detail != "" {
			checks[i].Status = api.HealthFailing
		}
	}
	// The server is ready in spite of an alarm: turning requests away would make an outage of what is none yet.
	if err := s.core.storeAlarm(); err != nil && checks[0].Detail == "" {
		checks[0].Detail = publicText(err)
	}
	if by := s.core.engine.ClockMoved(); by != 0 {
		checks[3].Detail = fmt.Sprintf("the clock was moved by %s: rotations start by schedule again when it is back, or when somebody resumes", by.Round(time.Second))
	}
	if s.core.leaving.Load() {
		checks = append(checks, api.Check{Name: "shutdown", Status: api.HealthFailing, Detail: "the server is about to end: ask another node"})
	}
	return checks
}
