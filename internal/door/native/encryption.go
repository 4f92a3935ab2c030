package native

import (
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

func (h *handler) encryptionRoutes() []door.Route {
	const at = root + "/vaults/{vault}/encryption"
	return []door.Route{
		{Method: "GET", Pattern: at, Operation: "VaultEncryptionGet", Action: authz.VaultRead.String(), Output: api.VaultEncryption{}, Serve: h.getEncryption,
			Summary: "Shows the customer's key that protects a vault."},
		{Method: "PUT", Pattern: at, Operation: "VaultEncryptionSet", Action: authz.VaultWrite.String(), MaxBody: maxSmallBody, Input: api.SetVaultEncryption{},
			Output: api.VaultEncryption{}, Serve: h.setEncryption, Summary: "Lets a customer's key protect a vault."},
		{Method: "POST", Pattern: at + "/rewrap", Operation: "VaultEncryptionRewrap", Action: authz.VaultWrite.String(), Output: api.VaultEncryption{},
			Serve: h.rewrap, Summary: "Wraps the keys of a vault with the current version of its customer's key."},
		{Method: "DELETE", Pattern: at, Operation: "VaultEncryptionRemove", Action: authz.VaultWrite.String(), Success: http.StatusNoContent,
			Serve: h.removeEncryption, Summary: "Protects a vault with the tenant's key alone again."},
	}
}

func (h *handler) getEncryption(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	return h.answerEncryption(r, ref)
}

// answerEncryption shows how the vault is protected now.
func (h *handler) answerEncryption(r *door.Request, ref tenancy.VaultRef) error {
	e, err := h.Tenancy.Encryption(r.HTTP.Context(), &r.Call, ref)
	if err != nil {
		return err
	}
	if e.Vault.Encryption == nil {
		return fault.New(fault.NotFound, "the vault %q has no customer's key: the tenant's key alone protects it", e.Vault.Name).Because("NoCustomerKey")
	}
	return r.JSON(http.StatusOK, wireEncryption(e))
}

func (h *handler) setEncryption(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	var in api.SetVaultEncryption
	if err := r.Decode(&in); err != nil {
		return err
	}
	spec := tenancy.EncryptionSpec{Vault: in.KeyVault, Key: in.Key, BackupDays: in.BackupDays}
	if in.Version != "" {
		if spec.Version, err = vault.ParseVersionID(in.Version); err != nil {
			return err
		}
	}
	v, err := h.Tenancy.Encrypt(r.HTTP.Context(), &r.Call, ref, spec)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireEncryption(&tenancy.Encryption{Vault: v}))
}

func (h *handler) rewrap(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	v, err := h.Tenancy.Rewrap(r.HTTP.Context(), &r.Call, ref)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireEncryption(&tenancy.Encryption{Vault: v}))
}

func (h *handler) removeEncryption(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	if _, err := h.Tenancy.RemoveEncryption(r.HTTP.Context(), &r.Call, ref); err != nil {
		return err
	}
	r.Raw(http.StatusNoContent, nil)
	return nil
}

func wireEncryption(e *tenancy.Encryption) *api.VaultEncryption {
	at := e.Vault.Encryption
	out := &api.VaultEncryption{KeyVault: at.VaultName, Key: at.Name, Version: string(at.Version), BackupDays: at.BackupDays, Since: at.Since, Problem: e.Problem}
	for _, v := range e.Wrapped {
		out.WrappedWith = append(out.WrappedWith, string(v))
	}
	return out
}
