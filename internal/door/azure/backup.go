package azure

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
)

type blob struct {
	Value *string `json:"value"`
}

func (h *handler) backupSecret(r *door.Request) error { return backUp(r, h.Secrets.Backup) }

// backUp answers with what a service makes of the named object.
func backUp(r *door.Request, of func(ctx context.Context, call *guard.Call, name string) ([]byte, error)) error {
	b, err := of(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
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
	b, err := backupOf(r)
	if err != nil {
		return err
	}
	item, err := h.Secrets.Restore(r.HTTP.Context(), &r.Call, b)
	if err != nil {
		return err
	}
	h.bundle(r, &item, nil)
	return nil
}

// backupOf reads the backup in a body.
func backupOf(r *door.Request) ([]byte, error) {
	var in blob
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	if in.Value == nil || *in.Value == "" {
		return nil, fault.New(fault.Invalid, "the request body has no member \"value\": give the backup as it was had")
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(*in.Value, "="))
	if err != nil {
		return nil, fault.New(fault.Invalid, "the backup is not base64url: give it as it was had")
	}
	return b, nil
}
