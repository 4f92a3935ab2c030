package cert

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// An issuer may sign with a certificate of another vault of its tenant: a root that few may use, say, with intermediates in the vaults of teams. The issuer knows the vault of
// its certificate; a link in the other direction, written with the issuer, says where to look for those below.

// there is the call for another vault of the caller's tenant, with that vault's own rules; the call itself for the own one, or no name. A vault of another tenant is as unknown as
// one that does not exist.
func (s *Service) there(ctx context.Context, call *guard.Call, name string) (*guard.Call, error) {
	if name == "" || vault.NameKey(name) == vault.NameKey(call.Vault.Vault.Name) {
		return call, nil
	}
	unknown := fault.New(fault.NotFound, "there is no vault %q with the certificate that is to sign: check its name", fault.Clip(name)).Because("VaultNotFound")
	if call.Caller == nil {
		return nil, unknown
	}
	view, err := s.Guard.View(ctx, name)
	if fault.Is(err, fault.NotFound) || err == nil && view.Vault.Tenant != call.Caller.Tenant {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	other := *call
	other.Vault = view
	return &other, s.Guard.Admit(ctx, &other)
}

// signsIn is the vault of the certificate with which an issuer of a vault signs.
func (st *Settings) signsIn(ctx context.Context, tx store.Tx, v *vault.Vault) (*vault.Vault, error) {
	if st.AuthorityVault == "" || st.AuthorityVault == v.ID {
		return v, nil
	}
	at, err := tx.Vault(ctx, st.AuthorityVault)
	if fault.Is(err, fault.NotFound) || err == nil && (at.Tenant != v.Tenant || at.Deleted != nil) {
		return nil, fault.New(fault.Invalid, "the vault %q, with the certificate with which the issuer %q signs, is deleted: recover it, or change the issuer over", st.Options[AuthorityVaultOption], st.Name)
	}
	return at, err
}

func linksKey(v vault.ID) string { return "certificates/signs-for/" + string(v) }

// link notes that an issuer of a vault signs with a certificate of another one.
func link(ctx context.Context, tx store.Tx, v *vault.Vault, st *Settings) error {
	if st.AuthorityVault == "" {
		return nil
	}
	list, err := links(ctx, tx, st.AuthorityVault)
	if err != nil || slices.Contains(list, v.ID) {
		return err
	}
	raw, err := json.Marshal(append(list, v.ID))
	if err != nil {
		return err
	}
	return tx.PutSetting(ctx, linksKey(st.AuthorityVault), raw)
}

// links are the vaults of which an issuer signs, or did so once, with a certificate of a vault.
func links(ctx context.Context, tx store.Tx, v vault.ID) (list []vault.ID, err error) {
	raw, err := tx.Setting(ctx, linksKey(v))
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	return list, err
}
