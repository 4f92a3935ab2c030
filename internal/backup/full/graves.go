package full

import (
	"slices"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// graves is a sink that keeps tombstones alone.
type graves struct {
	object, vault, at int
	here              bool
	list              []store.Tombstone
}

// Table implements store.Sink.
func (g *graves) Table(t *store.Table) error {
	if g.here = t.Name == "tombstones"; g.here {
		g.object, g.vault, g.at = slices.Index(t.Columns, "object"), slices.Index(t.Columns, "vault"), slices.Index(t.Columns, "at")
	}
	return nil
}

// Row implements store.Sink.
func (g *graves) Row(values []any) error {
	if !g.here {
		return nil
	}
	object, _ := values[g.object].(string)
	in, _ := values[g.vault].(string)
	s := store.Tombstone{Object: vault.ObjectID(object), Vault: vault.ID(in)}
	if at, ok := values[g.at].(int64); ok {
		s.At = time.UnixMicro(at).UTC()
	}
	g.list = append(g.list, s)
	return nil
}
