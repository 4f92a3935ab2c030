package authz

import "github.com/keywright/keywright/internal/vault"

// Parts are the names of which a scope is made. Those below the scope's own level are empty.
type Parts struct {
	Subscription vault.SubscriptionID
	// Group and Vault are in lower case.
	Group, Vault string
	Kind         vault.Kind
	// Object is a name key. It is empty beside a Kind in the scope of all keys.
	Object string
}

// Parts takes the scope apart.
func (s Scope) Parts() Parts {
	return Parts{Subscription: s.subscription, Group: s.group, Vault: s.vault, Kind: s.kind, Object: s.object}
}
