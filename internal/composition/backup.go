package composition

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// packed is what a backup of a composed secret holds beside its versions. It has no value.
type packed struct {
	// Vault is where the backup was made: there, who set the template was allowed to read its parts.
	Vault vault.ID `json:"vault"`
	// Template is empty of a secret that had one.
	Template string          `json:"template,omitempty"`
	Made     []Made          `json:"made,omitempty"`
	First    vault.VersionID `json:"first,omitempty"`
}

func readPacked(doc []byte) (p packed, t *Template, err error) {
	if err = json.Unmarshal(doc, &p); err == nil && p.Template != "" {
		t, err = Parse(p.Template)
	}
	if err != nil {
		err = fmt.Errorf("reading the template in a backup: %w", err)
	}
	return p, t, err
}

// Pack is what belongs into the backup of a secret beside its versions: its template; nothing where it has none.
func (s *Service) Pack(ctx context.Context, tx store.Tx, o *vault.Object) ([]byte, error) {
	b, err := readBook(ctx, tx, o.Vault)
	if err != nil || b[o.ID] == nil {
		return nil, err
	}
	return json.Marshal(packed{Vault: o.Vault, Template: b[o.ID].Template, Made: b[o.ID].Made, First: b[o.ID].First})
}

// Admit reports whether the caller may restore a template: into another vault than that of the backup only who may read its parts there, since whoever reads the composed
// secret reads them. It records what it refuses.
func (s *Service) Admit(ctx context.Context, call *guard.Call, doc []byte) error {
	p, t, err := readPacked(doc)
	if err != nil || t == nil || p.Vault == call.Vault.Vault.ID {
		return err
	}
	for _, part := range t.Parts() {
		if err := s.Guard.Authorize(ctx, call, &guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: part}); err != nil {
			return err
		}
	}
	return nil
}

// Unpack gives a restored secret its template back. The value is made anew when its parts are others than those of which it was made.
func (s *Service) Unpack(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, doc []byte) error {
	p, t, err := readPacked(doc)
	if err != nil {
		return err
	}
	b, err := present(ctx, tx, v.ID)
	if err != nil {
		return err
	}
	if t == nil && p.Vault != v.ID {
		return nil // what it was made of are secrets of another vault
	}
	if t != nil {
		if err := b.check(o.Name, t); err != nil {
			return err
		}
	}
	c := &Composed{Name: o.Name, Template: p.Template}
	if p.Vault == v.ID {
		c.Made, c.First = p.Made, p.First // elsewhere its parts are other secrets of the same names
	}
	b[o.ID] = c
	return b.write(ctx, tx, v.ID)
}
