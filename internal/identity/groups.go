package identity

import (
	"context"
	"fmt"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// maxGroups bounds the groups that one principal is in. Who is in more is refused, as nobody can say what it may do.
const maxGroups = 2048

// membership is the groups of a principal.
type membership struct {
	groups []principal.ID
	// visited holds also the disabled ones, whose change matters as well.
	visited []string
}

// GroupsOf returns every group that the principal is in, directly or through another group.
func (s *Service) GroupsOf(ctx context.Context, t vault.TenantID, id principal.ID) (groups []principal.ID, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		m, err := transitiveGroups(ctx, tx, t, id)
		groups = m.groups
		return err
	})
	return groups, err
}

// transitiveGroups finds the groups that have id as a member, directly or through other groups. A disabled group gives nothing
// and leads nowhere; a circle of groups is walked once.
func transitiveGroups(ctx context.Context, tx store.Tx, t vault.TenantID, id principal.ID) (membership, error) {
	var m membership
	seen := map[principal.ID]bool{id: true}
	for queue := []principal.ID{id}; len(queue) > 0; queue = queue[1:] {
		direct, err := tx.GroupsOf(ctx, t, queue[0])
		if err != nil {
			return m, fmt.Errorf("listing the groups of %s: %w", queue[0], err)
		}
		for _, g := range direct {
			if seen[g] {
				continue
			}
			seen[g] = true
			if len(m.visited) == maxGroups {
				return m, unauthenticated(StaleToken, "The principal %s is in more than %d groups.", id, maxGroups)
			}
			m.visited = append(m.visited, string(g))
			group, err := tx.Principal(ctx, t, g)
			if fault.Is(err, fault.NotFound) || err == nil && group.Disabled {
				continue
			}
			if err != nil {
				return m, fmt.Errorf("reading group %s: %w", g, err)
			}
			m.groups = append(m.groups, g)
			queue = append(queue, g)
		}
	}
	return m, nil
}
