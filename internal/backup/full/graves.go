package full

import (
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
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
		return lacks(t, g.object, g.vault, g.at)
	}
	return nil
}

// lacks refuses a table of a backup that has not all of the columns without which nobody can say what its rows mean.
func lacks(t *store.Table, at ...int) error {
	if slices.Min(at) < 0 {
		return fault.New(fault.Invalid, "the table %s of the backup lacks a column that it has had from the beginning: the file was not written by a release of Keywright", t.Name)
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
