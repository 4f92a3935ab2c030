package azure

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

// setting is an account setting on the wire; every one is a boolean.
type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Type  string `json:"type"`
}

type settingInput struct {
	Value string `json:"value"`
}

// keysThroughARM is the only setting: whether Resource Manager takes key operations for the vault. Vaults begin with true.
const keysThroughARM = "AllowKeyManagementOperationsThroughARM"

func (h *handler) settingRoutes() []door.Route {
	return []door.Route{
		{Method: "GET", Pattern: "/settings", Operation: "SettingList", Action: authz.VaultRead.String(), Summary: "Lists the settings of the vault.", Serve: h.listSettings},
		{Method: "GET", Pattern: "/settings/{setting}", Operation: "SettingGet", Action: authz.VaultRead.String(), Summary: "Shows one setting.", Serve: h.getSetting},
		{Method: "PATCH", Pattern: "/settings/{setting}", Operation: "SettingUpdate", Action: authz.VaultWrite.String(), MaxBody: maxUpdateBody, Input: settingInput{},
			Summary: "Changes one setting.", Serve: h.patchSetting},
	}
}

func settingOf(v *vault.Vault) setting {
	return setting{keysThroughARM, strconv.FormatBool(!v.KeysNotManaged), "boolean"}
}

func ownRef(r *door.Request) tenancy.VaultRef {
	v := r.Call.Vault.Vault
	return tenancy.VaultRef{GroupRef: tenancy.GroupRef{Subscription: v.Subscription, Group: v.ResourceGroup}, Name: v.Name}
}

func (h *handler) listSettings(r *door.Request) error {
	v, err := h.Tenancy.Vault(r.HTTP.Context(), &r.Call, ownRef(r))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, struct {
		Settings []setting `json:"settings"`
	}{[]setting{settingOf(v)}})
}

func (h *handler) getSetting(r *door.Request) error {
	v, err := h.Tenancy.Vault(r.HTTP.Context(), &r.Call, ownRef(r))
	if err != nil {
		return err
	}
	if err := checkSetting(r); err != nil {
		return err
	}
	return r.JSON(http.StatusOK, settingOf(v))
}

func checkSetting(r *door.Request) error {
	if name := r.Params.Get("setting"); !strings.EqualFold(name, keysThroughARM) {
		return fault.New(fault.Invalid, "the setting %q does not exist: the only one is %s", fault.Clip(name), keysThroughARM)
	}
	return nil
}

func (h *handler) patchSetting(r *door.Request) error {
	var in settingInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	// What there is to set is for those who may see the vault.
	if _, err := h.Tenancy.Vault(r.HTTP.Context(), &r.Call, ownRef(r)); err != nil {
		return err
	}
	if err := checkSetting(r); err != nil {
		return err
	}
	allow, err := strconv.ParseBool(strings.ToLower(in.Value))
	if err != nil {
		return fault.New(fault.Invalid, "the value of the setting %s is to be \"true\" or \"false\"", keysThroughARM)
	}
	off := !allow
	v, err := h.Tenancy.PatchVault(r.HTTP.Context(), &r.Call, ownRef(r), tenancy.VaultSpec{KeysNotManaged: &off})
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, settingOf(v))
}
