package event

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func (s *Service) seal(ctx context.Context, sub *Subscription, secret *secrets) (vault.Envelope, error) {
	plain, err := json.Marshal(secret)
	if err != nil {
		return vault.Envelope{}, err
	}
	defer clear(plain)
	e, err := s.Keys.SealFor(ctx, sub.Tenant, purpose, sub.ID, plain)
	if err != nil {
		return e, fmt.Errorf("sealing the secrets of the %s: %w", sub, err)
	}
	return e, nil
}

func (s *Service) open(ctx context.Context, sub *Subscription) (*secrets, error) {
	plain, err := s.Keys.OpenFor(ctx, sub.Tenant, purpose, sub.ID, sub.Sealed)
	if err != nil {
		return nil, fmt.Errorf("opening the secrets of the %s: %w", sub, err)
	}
	defer clear(plain)
	secret := new(secrets)
	if json.Unmarshal(plain, secret) != nil {
		return nil, fmt.Errorf("the secrets of the %s are damaged", sub)
	}
	return secret, nil
}

// opened reads what a delivery carries.
func opened(d *store.Delivery) (*parcel, error) {
	p := new(parcel)
	if err := json.Unmarshal(d.Doc, p); err != nil {
		return nil, fmt.Errorf("reading the delivery %d of the event subscription %s: %w", d.Seq, d.Subscription, err)
	}
	return p, nil
}

// into writes it back.
func (p *parcel) into(d *store.Delivery) (err error) {
	d.Doc, err = json.Marshal(p)
	return err
}
