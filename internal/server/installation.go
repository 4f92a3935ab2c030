package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// installation is what an installation begins with. It is kept as a setting, whose presence says that it is initialised.
type installation struct {
	// Tenant is the first one, which adfs, common and organizations mean.
	Tenant        vault.TenantID       `json:"tenant"`
	Subscription  vault.SubscriptionID `json:"subscription"`
	ResourceGroup string               `json:"resourceGroup"`
	Administrator principal.ID         `json:"administrator"`
	// Enrolment names the newest enrolment of the administrator.
	Enrolment string    `json:"enrolment"`
	Made      time.Time `json:"made"`
}

const installationSetting = "installation"

// NotInitialised is the reason why a server does not start.
const NotInitialised fault.Reason = "NotInitialised"

// findInstallation reads it; nil when the store has none.
func findInstallation(ctx context.Context, s store.Store) (*installation, error) {
	var raw []byte
	err := s.View(ctx, func(tx store.Tx) (err error) {
		raw, err = tx.Setting(ctx, installationSetting)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var i installation
	if err := json.Unmarshal(raw, &i); err != nil {
		return nil, fmt.Errorf("reading what the installation begins with: %w", err)
	}
	return &i, nil
}

// find refuses a place without a store before one is made there: a server that was given the wrong database leaves nothing in it.
func (c *Config) find(ctx context.Context) error {
	if c.mayMake {
		return nil
	}
	err := c.inspect(ctx)
	if fault.Is(err, fault.NotFound) {
		return notInitialised()
	}
	return err
}

func notInitialised() error {
	return fault.New(fault.Invalid, "this installation is not initialised: run \"keywright init\" with the same configuration first").Because(NotInitialised)
}

// admit refuses a store that was not initialised, unless what is missing may be made: a root key or a tenant that came to be by a start would belong to nobody.
func (c *Config) admit(ctx context.Context, s store.Store) error {
	if c.mayMake {
		return nil
	}
	there, err := findInstallation(ctx, s)
	if err == nil && there == nil {
		err = notInitialised()
	}
	return err
}

// Initial is what Initialise makes.
type Initial struct {
	// Tenant, Subscription and ResourceGroup are names.
	Tenant, Subscription, ResourceGroup string
	// Administrator is the sign-in name of a person, NAME@DOMAIN, or else the name of an application.
	Administrator string
	// Life is how long the enrolment of the administrator counts.
	Life time.Duration
	// Renew issues another enrolment although the administrator has a credential of its own.
	Renew bool
}

// Initialised is what Initialise has made, or found.
type Initialised struct {
	Tenant        string `json:"tenantId"`
	Subscription  string `json:"subscriptionId"`
	ResourceGroup string `json:"resourceGroup"`
	// Administrator is its object id; ClientID or UserName is by what it signs in.
	Administrator string `json:"administrator"`
	ClientID      string `json:"clientId,omitempty"`
	UserName      string `json:"userName,omitempty"`
	// Enrolment is exchanged for a credential of the administrator's own, once.
	Enrolment redact.String `json:"-"`
	Expires   time.Time     `json:"enrolmentExpires"`
	// Resumed says that an earlier run had begun, Again that it was whole: only the enrolment is new then.
	Resumed bool `json:"resumed"`
	Again   bool `json:"-"`
}

// Initialise makes an installation: the store, the root key under its seal, the first tenant with a subscription and a resource group, and its first administrator,
// with an enrolment to come in by. Each step is whole or not there, so that it may be run again after it was interrupted anywhere. As long as the administrator has
// not enrolled, a further run issues another enrolment in place of the one before; after that it is a fault.Conflict, unless i.Renew is set.
func Initialise(ctx context.Context, c Config, i Initial) (_ *Initialised, err error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	if err := i.check(); err != nil {
		return nil, err
	}
	if err := mkdir(c.Dir); err != nil {
		return nil, err
	}
	c.mayMake = true
	n := namesFor("initialising.invalid", "")
	k, err := openCore(ctx, &c, n.issuerOf, "https://"+n.api, n.eventLinks(n.api))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.close(context.WithoutCancel(ctx))) }()
	there, err := findInstallation(ctx, k.store)
	if err != nil {
		return nil, err
	}
	if there != nil {
		return k.enrolAgain(ctx, there, i)
	}
	return k.initialise(ctx, i)
}

func (i *Initial) check() error {
	for _, n := range []struct{ what, name string }{{"tenant", i.Tenant}, {"subscription", i.Subscription}, {"resource group", i.ResourceGroup}, {"administrator", i.Administrator}} {
		if strings.TrimSpace(n.name) == "" {
			return fault.New(fault.Invalid, "the %s needs a name", n.what)
		}
	}
	if i.Life <= 0 || i.Life > identity.MaxEnrolmentLife {
		return fault.New(fault.Invalid, "an enrolment cannot last for %s: give at most %s", i.Life, identity.MaxEnrolmentLife)
	}
	return nil
}

// spec is the administrator as a principal.
func (i *Initial) spec(t vault.TenantID) identity.Spec {
	if strings.Contains(i.Administrator, "@") {
		return identity.Spec{Tenant: t, Kind: principal.User, Name: i.Administrator, UPN: i.Administrator}
	}
	return identity.Spec{Tenant: t, Kind: principal.Service, Name: i.Administrator}
}

// initialise makes the tenant with its keys, and then all that is in it in one transaction.
func (k *core) initialise(ctx context.Context, i Initial) (*Initialised, error) {
	tenant, resumed, err := k.makeTenant(ctx, i.Tenant)
	if err != nil {
		return nil, fmt.Errorf("making the tenant: %w", err)
	}
	op := store.NewOp(k.clock.Now())
	admin, putAdmin, err := k.identity.PreparePrincipal(i.spec(tenant))
	if err != nil {
		return nil, err
	}
	code, enrolment, putEnrolment, err := k.identity.PrepareEnrolment(tenant, admin.ID, i.Life)
	if err != nil {
		return nil, err
	}
	in := &installation{Tenant: tenant, Subscription: vault.NewSubscriptionID(), ResourceGroup: i.ResourceGroup, Administrator: admin.ID, Enrolment: enrolment, Made: op.At}
	setting, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	grant := func(role string) *principal.Grant {
		return &principal.Grant{ID: vault.NewGUID(), Tenant: tenant, Scope: "/", Role: role, Principal: admin.ID, PrincipalKind: admin.Kind, CreatedBy: admin.ID,
			Created: op.At, Updated: op.At}
	}
	// Like the first administrator of a cloud, it manages everything and everybody, and reads no value before it gives itself the right, which is recorded.
	grants := []*principal.Grant{grant(authz.Owner), grant(authz.KeywrightIdentityOperator)}
	err = k.record(ctx, tenant, "Initialise", "the installation is initialised; its administrator is "+string(admin.ID), op, func(tx store.Tx) error {
		steps := []error{
			tx.PutSubscription(ctx, &vault.Subscription{ID: in.Subscription, Tenant: tenant, Name: i.Subscription, Created: op.At}),
			tx.PutResourceGroup(ctx, &vault.ResourceGroup{Subscription: in.Subscription, Name: i.ResourceGroup, Location: k.region, Created: op.At}),
			putAdmin(ctx, tx), putEnrolment(ctx, tx), tx.PutSetting(ctx, installationSetting, setting),
		}
		for _, g := range grants {
			steps = append(steps, tx.PutGrant(ctx, g))
		}
		return errors.Join(steps...)
	})
	if err != nil {
		return nil, fmt.Errorf("making what the installation begins with: %w", err)
	}
	return in.made(admin, code, op.At.Add(i.Life), resumed), nil
}

func (in *installation) made(admin *principal.Principal, code redact.String, expires time.Time, resumed bool) *Initialised {
	return &Initialised{Tenant: string(in.Tenant), Subscription: string(in.Subscription), ResourceGroup: in.ResourceGroup, Administrator: string(admin.ID),
		ClientID: admin.AppID, UserName: admin.UPN, Enrolment: code, Expires: expires, Resumed: resumed}
}

// AlreadyInitialised is the reason why nothing was made.
const AlreadyInitialised fault.Reason = "AlreadyInitialised"

// enrolAgain issues another enrolment of the administrator, who has none of the old any more.
func (k *core) enrolAgain(ctx context.Context, in *installation, i Initial) (*Initialised, error) {
	var admin *principal.Principal
	err := k.store.View(ctx, func(tx store.Tx) (err error) {
		admin, err = tx.Principal(ctx, in.Tenant, in.Administrator)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.Conflict, "this installation was initialised at %s, and its first administrator was removed since: sign in as another",
			in.Made.Format(time.RFC3339)).Because(AlreadyInitialised)
	}
	if err != nil {
		return nil, err
	}
	if name := cmp.Or(admin.UPN, admin.Name); !strings.EqualFold(name, i.Administrator) {
		return nil, fault.New(fault.Conflict, "this installation was initialised at %s with the administrator %q, not %q: nothing was changed; give the former's name, and let it add others",
			in.Made.Format(time.RFC3339), name, i.Administrator).Because(AlreadyInitialised)
	}
	enrolled := len(admin.Secrets)+len(admin.Certificates)+len(admin.Federations)+len(admin.Passkeys)+len(admin.TOTP) > 0
	if enrolled && !i.Renew {
		return nil, fault.New(fault.Conflict, "this installation was initialised at %s, and its administrator has enrolled: nothing was changed; to let somebody in who lost "+
			"every credential, issue another enrolment with --renew", in.Made.Format(time.RFC3339)).Because(AlreadyInitialised)
	}
	code, id, put, err := k.identity.PrepareEnrolment(in.Tenant, admin.ID, i.Life)
	if err != nil {
		return nil, err
	}
	before := in.Enrolment
	in.Enrolment = id
	setting, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	op := store.NewOp(k.clock.Now())
	err = k.record(ctx, in.Tenant, "EnrolmentIssue", "another enrolment was issued at the machine of the server, for "+string(admin.ID), op, func(tx store.Tx) error {
		return errors.Join(k.identity.PrepareEndEnrolment(before)(ctx, tx), put(ctx, tx), tx.PutSetting(ctx, installationSetting, setting))
	})
	if err != nil {
		return nil, fmt.Errorf("issuing another enrolment: %w", err)
	}
	made := in.made(admin, code, op.At.Add(i.Life), true)
	made.Again = true
	return made, nil
}

// record commits a change that the operator made at the machine of the server, with its audit record.
func (k *core) record(ctx context.Context, t vault.TenantID, operation, why string, op store.Op, change func(store.Tx) error) error {
	return k.guard.Commit(ctx, guard.System(t, operation, op.At), guard.Need{Action: authz.PrincipalCredentials, Scope: "/", Reason: "Operator", Detail: why}, op, change)
}
