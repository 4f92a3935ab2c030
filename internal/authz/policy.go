package authz

import (
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// words are the permissions that an access policy may name, by the API's word for the kind of object (Key Vault
// management API, AccessPolicyEntry). Those of storage accounts are accepted and kept; nothing here needs them.
var words = map[string][]string{
	"keys": {"all", "encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify", "get", "list", "create", "update", "import", "delete",
		"backup", "restore", "recover", "purge", "release", "rotate", "getrotationpolicy", "setrotationpolicy"},
	"secrets": {"all", "get", "list", "set", "delete", "backup", "restore", "recover", "purge"},
	"certificates": {"all", "get", "list", "delete", "create", "import", "update", "managecontacts", "getissuers", "listissuers", "setissuers",
		"deleteissuers", "manageissuers", "recover", "purge", "backup", "restore"},
	"storage": {"all", "get", "list", "delete", "set", "update", "regeneratekey", "recover", "purge", "backup", "restore", "setsas", "listsas",
		"getsas", "deletesas"},
}

// all is the word for every permission of a kind but purge, which always has to be named.
const (
	all   = "all"
	purge = "purge"
)

// PolicyAllows returns the actions that an access policy's permissions allow. Words that do not exist allow nothing.
func PolicyAllows(p *vault.AccessPolicy) Set {
	granted := map[vault.Kind][]string{vault.Secret: p.Secrets, vault.Key: p.Keys, vault.Certificate: p.Certificates}
	var set Set
	for _, a := range Actions() {
		r := table[a]
		if slices.ContainsFunc(r.words, func(w string) bool { return grantsWord(granted[r.kind], w) }) {
			set.add(a)
		}
	}
	return set
}

func grantsWord(granted []string, word string) bool {
	return slices.ContainsFunc(granted, func(g string) bool {
		return strings.EqualFold(g, word) || strings.EqualFold(g, all) && word != purge
	})
}

// CheckPolicy reports every word of an access policy that is not a permission.
func CheckPolicy(p *vault.AccessPolicy) error {
	var wrong []string
	for _, list := range []struct {
		kind    string
		granted []string
	}{{"secrets", p.Secrets}, {"keys", p.Keys}, {"certificates", p.Certificates}, {"storage", p.Storage}} {
		for _, g := range list.granted {
			if !slices.ContainsFunc(words[list.kind], func(w string) bool { return strings.EqualFold(w, g) }) {
				wrong = append(wrong, list.kind+" "+fault.Clip(g))
			}
		}
	}
	if wrong == nil {
		return nil
	}
	return fault.New(fault.Invalid, "the access policy of %s names permissions that do not exist: %s; secrets have %s", fault.Clip(p.Principal),
		strings.Join(wrong[:min(len(wrong), 8)], ", "), strings.Join(words["secrets"], ", ")).Because("InvalidAccessPolicy")
}
