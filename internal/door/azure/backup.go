package azure

import (
	"encoding/base64"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
)

type blob struct {
	Value *string `json:"value"`
}

func (h *handler) backupSecret(r *door.Request) error {
	b, err := h.Secrets.Backup(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	if err != nil {
		return err
	}
	value := base64.RawURLEncoding.EncodeToString(b)
	return r.JSON(200, blob{&value})
}

func (h *handler) admitRestore(r *door.Request) error {
	return h.Secrets.AdmitRestore(r.HTTP.Context(), &r.Call)
}

func (h *handler) restoreSecret(r *door.Request) error {
	var in blob
	if err := r.Decode(&in); err != nil {
		return err
	}
	if in.Value == nil || *in.Value == "" {
		return fault.New(fault.Invalid, "the request body has no member \"value\": give the backup as it was had")
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(*in.Value, "="))
	if err != nil {
		return fault.New(fault.Invalid, "the backup is not base64url: give it as it was had")
	}
	item, err := h.Secrets.Restore(r.HTTP.Context(), &r.Call, b)
	if err != nil {
		return err
	}
	h.bundle(r, &item, nil)
	return nil
}
