package identity

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// An enrolment is a credential that is good once, for a short time, and for nothing but to be exchanged for a credential of the principal's own. It is how
// somebody comes in who has none yet, such as the first administrator. What is stored is its digest: 191 bits cannot be guessed from that.

// kindEnrolment is the kind of a store.SignIn that holds an enrolment, credEnrolment that of the credential.
const (
	kindEnrolment = "enrolment"
	credEnrolment = "enrolment"
)

// The bounds of an enrolment's life.
const (
	DefaultEnrolmentLife = time.Hour
	MaxEnrolmentLife     = 7 * 24 * time.Hour
)

// enrolmentLetters is how many random letters and digits an enrolment has.
const enrolmentLetters = 32

type enrolmentState struct {
	Principal principal.ID
}

// PrepareEnrolment prepares an enrolment of a principal. The code is returned here and nowhere else; id names the enrolment, for PrepareEndEnrolment.
func (s *Service) PrepareEnrolment(t vault.TenantID, who principal.ID, life time.Duration) (code redact.String, id string, change Change, err error) {
	if life <= 0 || life > MaxEnrolmentLife {
		return "", "", nil, invalid(WrongRequest, "An enrolment lasts for up to %s; %s is not in that.", MaxEnrolmentLife, life)
	}
	data, err := json.Marshal(enrolmentState{who})
	if err != nil {
		return "", "", nil, err
	}
	code = redact.String("kwe-" + randomWord(enrolmentLetters))
	row := &store.SignIn{Kind: kindEnrolment, ID: deviceID(code), Tenant: t, Expires: clock.Micro(s.Clock.Now()).Add(life), Data: data}
	return code, row.ID, func(ctx context.Context, tx store.Tx) error { return tx.PutSignIn(ctx, row) }, nil
}

// PrepareEndEnrolment prepares to end an enrolment before somebody uses it. One that is used or over is none.
func (s *Service) PrepareEndEnrolment(id string) Change {
	return func(ctx context.Context, tx store.Tx) error {
		err := tx.DeleteSignIn(ctx, kindEnrolment, id)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		return err
	}
}

// EnrolRequest exchanges an enrolment.
type EnrolRequest struct {
	Tenant vault.TenantID
	Code   redact.String
	// Kind is what the principal gets: "secret" or "certificate" for an application, "totp" for a person.
	Kind string
	// Name is what the credential is called.
	Name string
	// Certificate is the PEM or DER of a certificate; Password is what a person will type beside the codes of its generator.
	Certificate []byte
	Password    redact.String
	From
}

// Enrolled is a principal's first credential of its own.
type Enrolled struct {
	// Caller is the principal as records name it. It holds no groups: nothing is decided by it.
	Caller *guard.Caller
	// AppID or UPN is by what the principal signs in from now on.
	AppID, UPN string
	// ID names the credential, KIND/ID. Secret is a secret's value or a generator's otpauth URL, shown here and nowhere else.
	ID      string
	Secret  redact.String
	Expires time.Time
}

// PrepareEnrol checks an enrolment and prepares to exchange it: the change takes the enrolment away and gives the credential in one transaction, so that it is
// good once. The caller of an enrolment that is right is returned with an error too, for the record of the failure; a failure to prove anybody is recorded here.
func (s *Service) PrepareEnrol(ctx context.Context, r EnrolRequest) (*Enrolled, Change, error) {
	who, err := s.enrolling(ctx, r.Tenant, r.Code, r.From)
	if err != nil {
		return nil, nil, err
	}
	e := &Enrolled{AppID: who.AppID, UPN: who.UPN, Caller: &guard.Caller{Principal: who.ID, Tenant: who.Tenant, Kind: who.Kind, Name: who.Name, AppID: who.AppID, UPN: who.UPN,
		Credential: credentialName(credEnrolment, deviceID(r.Code)[:8])}}
	give, err := s.firstCredential(ctx, who, r, e)
	if err != nil {
		return e, nil, err
	}
	return e, func(ctx context.Context, tx store.Tx) error {
		if err := s.takeEnrolment(ctx, tx, deviceID(r.Code), who.ID); err != nil {
			return err
		}
		for _, change := range give {
			if err := change(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// firstCredential prepares the credential that is asked for.
func (s *Service) firstCredential(ctx context.Context, who *principal.Principal, r EnrolRequest, e *Enrolled) ([]Change, error) {
	name := strings.TrimSpace(r.Name)
	if name == "" {
		name = "first"
	}
	switch r.Kind {
	case credSecret:
		value, secret, put, err := s.PrepareSecret(ctx, who.Tenant, who.ID, SecretSpec{Name: name})
		if err != nil {
			return nil, err
		}
		e.ID, e.Secret, e.Expires = credentialName(credSecret, secret.ID), value, secret.Expires
		return []Change{put}, nil
	case credCertificate:
		c, put, err := s.PrepareCertificate(who.Tenant, who.ID, name, r.Certificate)
		if err != nil {
			return nil, err
		}
		e.ID, e.Expires = credentialName(credCertificate, c.ID), c.Expires
		return []Change{put}, nil
	case credTOTP:
		if r.Password == "" {
			return nil, invalid(WrongRequest, "A code signs in only together with a password: give one.")
		}
		password, err := s.PreparePassword(ctx, who.Tenant, who.ID, r.Password)
		if err != nil {
			return nil, err
		}
		url, g, put, err := s.PrepareTOTP(ctx, who.Tenant, who, name)
		if err != nil {
			return nil, err
		}
		e.ID, e.Secret = credentialName(credTOTP, g.ID), url
		return []Change{password, put}, nil
	}
	return nil, invalid(WrongRequest, "An enrolment cannot be exchanged for %q: ask for secret, certificate or totp.", fault.Clip(r.Kind))
}

// ProveByEnrolment proves a person by an enrolment, for the registration of a passkey. The enrolment is used up when the passkey is registered.
func (s *Service) ProveByEnrolment(ctx context.Context, t vault.TenantID, code redact.String, from From) (*Person, error) {
	who, err := s.enrolling(ctx, t, code, from)
	if err != nil {
		return nil, err
	}
	if who.Kind != principal.User {
		return nil, invalid(WrongRequest, "The enrolment is an application's, which has no passkeys: exchange it with keywright enrol.")
	}
	return &Person{t, who.ID, who.UPN, credentialName(credEnrolment, deviceID(code))}, nil
}

// enrolling finds whom an enrolment proves. Guessing is slowed like that of every code.
func (s *Service) enrolling(ctx context.Context, t vault.TenantID, code redact.String, from From) (*principal.Principal, error) {
	event := SignInEvent{Tenant: t, Flow: FlowFirst, Address: from.Address, Correlation: from.Correlation}
	pass, err := s.gate.enter(attempt{kind: "code", name: "first " + string(t), address: from.Address})
	if err != nil {
		return nil, s.refuse(ctx, event, err)
	}
	var who *principal.Principal
	now := s.Clock.Now()
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		if err := enabledTenant(ctx, tx, t); err != nil {
			return err
		}
		who, err = readEnrolment(ctx, tx, t, deviceID(code), now)
		return err
	})
	if err != nil {
		pass.failed(err)
		return nil, s.refuse(ctx, event, err)
	}
	pass.takeBack()
	return who, nil
}

// readEnrolment finds the principal of a live enrolment.
func readEnrolment(ctx context.Context, tx store.Tx, t vault.TenantID, id string, now time.Time) (*principal.Principal, error) {
	row, err := tx.SignIn(ctx, kindEnrolment, id, now)
	if fault.Is(err, fault.NotFound) || err == nil && row.Tenant != t {
		return nil, wrongEnrolment()
	}
	if err != nil {
		return nil, err
	}
	var state enrolmentState
	if err := json.Unmarshal(row.Data, &state); err != nil {
		return nil, err
	}
	p, err := tx.Principal(ctx, t, state.Principal)
	if fault.Is(err, fault.NotFound) || err == nil && p.Disabled {
		return nil, wrongEnrolment()
	}
	return p, err
}

// takeEnrolment uses an enrolment up, within the transaction of what it is exchanged for.
func (s *Service) takeEnrolment(ctx context.Context, tx store.Tx, id string, who principal.ID) error {
	row, err := tx.SignIn(ctx, kindEnrolment, id, s.Clock.Now())
	if fault.Is(err, fault.NotFound) {
		return wrongEnrolment()
	}
	if err != nil {
		return err
	}
	p, err := readEnrolment(ctx, tx, row.Tenant, id, s.Clock.Now())
	if err == nil && p.ID != who {
		err = wrongEnrolment()
	}
	if err != nil {
		return err
	}
	return tx.DeleteSignIn(ctx, kindEnrolment, id)
}

func wrongEnrolment() *fault.Error {
	return unauthenticated(WrongEnrolment, "The enrolment is not known, was used before or is over. Whoever operates the server issues another.")
}
