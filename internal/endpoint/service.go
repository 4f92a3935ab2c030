package endpoint

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// need is the right to something with an endpoint. It is asked for the whole vault: an endpoint makes the server connect, which no certificate's owner alone decides.
func need(a authz.Action, name string) guard.Need {
	n := guard.Need{Action: a}
	if name != "" {
		n.Detail = "endpoint " + name
	}
	return n
}

func noEndpoint(v *vault.Vault, name string) error {
	return fault.New(fault.NotFound, "the vault %q has no endpoint %q: list those that it has", v.Name, fault.Clip(name)).Because(NotFoundReason)
}

// find reads an endpoint of the vault.
func find(ctx context.Context, tx store.Tx, v *vault.Vault, name string) (*Endpoint, error) {
	row, err := tx.EndpointByName(ctx, v.ID, name)
	if fault.Is(err, fault.NotFound) {
		return nil, noEndpoint(v, name)
	}
	if err != nil {
		return nil, err
	}
	return Read(row)
}

// Set registers an endpoint, or changes the one of that name. It is looked at soon. What was seen at another place is forgotten.
func (s *Service) Set(ctx context.Context, call *guard.Call, spec Spec) (e *Endpoint, err error) {
	n := need(authz.CertificateUpdate, spec.Name)
	if err := s.Guard.Authorize(ctx, call, &n); err != nil {
		return nil, err
	}
	if err := spec.complete(); err != nil {
		return nil, s.Guard.Refuse(ctx, call, n, err)
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	id := string(vault.NewObjectID(op.At))
	err = s.Guard.Commit(ctx, call, n, op, func(tx store.Tx) error {
		if err := s.checkCertificate(ctx, tx, v, &spec); err != nil {
			return err
		}
		var err error
		e, err = find(ctx, tx, v, spec.Name)
		switch {
		case fault.Is(err, fault.NotFound):
			if err := room(ctx, tx, v); err != nil {
				return err
			}
			e = &Endpoint{ID: id, Tenant: v.Tenant, Vault: v.ID, Created: op.At}
		case err != nil:
			return err
		case !e.samePlace(&spec):
			e = &Endpoint{ID: e.ID, Tenant: e.Tenant, Vault: e.Vault, Revision: e.Revision, Created: e.Created}
		}
		e.Spec, e.Updated, e.NextAt = spec, op.At, op.At
		if e.Task != nil {
			t := *e.Task
			t.plan(&spec.Care, e.due(&t), op.At)
			e.Task = &t
		}
		row, err := e.row()
		if err != nil {
			return err
		}
		return tx.PutEndpoint(ctx, row)
	})
	if err != nil {
		return nil, err
	}
	e.Revision++
	s.Wake()
	return e, nil
}

// checkCertificate refuses an endpoint for a certificate that the vault does not have.
func (s *Service) checkCertificate(ctx context.Context, tx store.Tx, v *vault.Vault, spec *Spec) error {
	if spec.Certificate == "" {
		return nil
	}
	o, err := tx.Object(ctx, v.ID, vault.Certificate, spec.Certificate)
	if fault.Is(err, fault.NotFound) || err == nil && o.Deleted != nil {
		return fault.New(fault.Invalid, "the vault %q has no certificate %q: create it first, or name none to watch one that is kept elsewhere", v.Name, spec.Certificate)
	}
	if err == nil {
		spec.Certificate = o.Name
	}
	return err
}

func room(ctx context.Context, tx store.Tx, v *vault.Vault) error {
	n, err := tx.CountEndpoints(ctx, v.ID, MaxPerVault)
	if err == nil && n >= MaxPerVault {
		err = fault.New(fault.Invalid, "the vault %q has %d endpoints, and may have no more: remove one first", v.Name, n)
	}
	return err
}

// Get shows an endpoint.
func (s *Service) Get(ctx context.Context, call *guard.Call, name string) (e *Endpoint, err error) {
	n := need(authz.CertificateGet, name)
	err = s.Guard.Read(ctx, call, &n, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			e, err = find(ctx, tx, call.Vault.Vault, name)
			return err
		})
	})
	return e, err
}

// Page says which part of a listing is wanted: what follows After, at most Limit.
type Page struct {
	// Certificate selects the endpoints of one certificate; empty selects all.
	Certificate string
	After       string
	Limit       int
}

// Listing is a page of endpoints. Next is behind what the listing goes on; empty at its end.
type Listing struct {
	Endpoints []*Endpoint
	Next      string
}

// List returns a page of a vault's endpoints in the order in which they were registered.
func (s *Service) List(ctx context.Context, call *guard.Call, p Page) (l Listing, err error) {
	n := need(authz.CertificateList, "")
	err = s.Guard.Read(ctx, call, &n, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			l = Listing{}
			rows, err := tx.Endpoints(ctx, store.EndpointQuery{Vault: call.Vault.Vault.ID, Certificate: vault.NameKey(p.Certificate), After: p.After, Limit: p.Limit})
			for _, row := range rows {
				e, err := Read(row)
				if err != nil {
					return err
				}
				l.Endpoints = append(l.Endpoints, e)
			}
			if len(rows) > 0 && len(rows) == p.Limit {
				l.Next = rows[len(rows)-1].ID
			}
			return err
		})
	})
	return l, err
}

// Remove ends the watching of an endpoint.
func (s *Service) Remove(ctx context.Context, call *guard.Call, name string) error {
	n := need(authz.CertificateUpdate, name)
	if err := s.Guard.Authorize(ctx, call, &n); err != nil {
		return err
	}
	return s.Guard.Commit(ctx, call, n, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		e, err := find(ctx, tx, call.Vault.Vault, name)
		if err != nil {
			return err
		}
		return tx.DeleteEndpoint(ctx, e.ID)
	})
}

// Check looks at an endpoint now and returns what was seen. Alarms that come of it are told as after any other look.
func (s *Service) Check(ctx context.Context, call *guard.Call, name string) (e *Endpoint, err error) {
	n := need(authz.CertificateUpdate, name)
	if err := s.Guard.Authorize(ctx, call, &n); err != nil {
		return nil, err
	}
	v := call.Vault.Vault
	err = s.Store.View(ctx, func(tx store.Tx) error {
		e, err = find(ctx, tx, v, name)
		return err
	})
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, n, err)
	}
	seen, err := s.observe(ctx, e)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, n, err)
	}
	op := store.NewOp(s.Clock.Now())
	err = s.Guard.Commit(ctx, call, n, op, func(tx store.Tx) error { return s.keep(ctx, tx, v, seen, op) })
	if err != nil {
		return nil, err
	}
	s.testify(ctx, seen)
	return seen.after, nil
}
