package tenancy

import (
	"slices"

	"github.com/keywright/keywright/internal/vault"
)

// mergePolicy returns the policies after one change. It copies what it changes.
func mergePolicy(policies []vault.AccessPolicy, how PolicyChange, p *vault.AccessPolicy) []vault.AccessPolicy {
	policies = slices.Clone(policies)
	i := slices.IndexFunc(policies, func(other vault.AccessPolicy) bool { return holderOf(&other) == holderOf(p) })
	if i < 0 {
		if how == RemovePolicies || empty(p) {
			return policies
		}
		return append(policies, *p)
	}
	merged := policies[i]
	switch how {
	case AddPolicies:
		merge(&merged, p, func(have, given []string) []string { return canonicalWords(slices.Concat(have, given)) })
	case ReplacePolicies:
		merge(&merged, p, func(_, given []string) []string { return given })
	case SetPolicies:
		merged = *p
	case RemovePolicies:
		merge(&merged, p, without)
	}
	if empty(&merged) {
		return slices.Delete(policies, i, i+1)
	}
	policies[i] = merged
	return policies
}

func merge(into, p *vault.AccessPolicy, join func(have, given []string) []string) {
	into.Secrets = join(into.Secrets, p.Secrets)
	into.Keys = join(into.Keys, p.Keys)
	into.Certificates = join(into.Certificates, p.Certificates)
	into.Storage = join(into.Storage, p.Storage)
}

func without(have, taken []string) []string {
	return slices.DeleteFunc(slices.Clone(have), func(w string) bool { return slices.Contains(taken, w) })
}

func empty(p *vault.AccessPolicy) bool {
	return len(p.Secrets)+len(p.Keys)+len(p.Certificates)+len(p.Storage) == 0
}
