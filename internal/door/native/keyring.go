package native

import (
	"context"
	"net/http"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

func (h *handler) keyringRoutes() []door.Route {
	const holds, shredded = root + "/vaults/{vault}/holds", root + "/vaults/{vault}/shredded"
	return []door.Route{
		{Method: "GET", Pattern: root + "/keyring", Operation: "KeyringStatus", Action: authz.KeyringRead.String(), Output: api.KeyringStatus{}, Serve: h.keyringStatus,
			Summary: "Shows the keys that protect what the tenant keeps, by layer, and what is still to be moved to new ones."},
		{Method: "POST", Pattern: root + "/keyring/rotate", Operation: "KeyringRotate", Action: authz.KeyringRotate.String(), MaxBody: maxSmallBody, Input: api.RotateKeys{},
			Output: api.KeysRotated{}, Serve: h.rotateKeyring, Summary: "Makes new keys of a layer; what the old ones protect is moved behind the requests."},

		{Method: "GET", Pattern: holds, Operation: "HoldList", Action: authz.HoldList.String(), Output: api.HoldList{}, Serve: h.listHolds,
			Summary: "Lists the holds of a vault and its objects."},
		{Method: "POST", Pattern: holds, Operation: "HoldPlace", Action: authz.HoldPlace.String(), MaxBody: maxSmallBody, Input: api.PlaceHold{}, Output: api.Hold{},
			Success: http.StatusCreated, Serve: h.placeHold, Summary: "Keeps an object, or a whole vault, from being purged."},
		{Method: "DELETE", Pattern: holds + "/{hold}", Operation: "HoldLift", Action: authz.HoldLift.String(), Success: http.StatusNoContent, Serve: h.liftHold,
			Summary: "Lifts a hold."},
		{Method: "GET", Pattern: shredded, Operation: "VaultShredded", Action: authz.HoldList.String(), Output: api.ShreddedList{}, Serve: h.listShredded,
			Query: []door.Param{{Name: "all", Summary: "true lists what no backup can bring back, too."}}, Summary: "Lists what was purged of a vault, and until when backups can bring it back."},
	}
}

func (h *handler) keyringStatus(r *door.Request) error {
	states, err := h.Tenancy.KeyStates(r.HTTP.Context(), &r.Call)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, KeyringStatus(states))
}

// KeyringStatus is the form of the states of layers.
func KeyringStatus(states []keyring.State) *api.KeyringStatus {
	out := &api.KeyringStatus{Layers: []api.KeyLayer{}}
	for i := range states {
		s := &states[i]
		l := api.KeyLayer{Layer: string(s.Layer), Keys: s.Keys, Old: s.Old, Moving: s.Moving, Seen: s.Seen, Moved: s.Moved}
		if !s.Newest.IsZero() {
			l.Newest = &s.Newest
		}
		out.Layers = append(out.Layers, l)
	}
	return out
}

func (h *handler) rotateKeyring(r *door.Request) error {
	var in api.RotateKeys
	if err := r.Decode(&in); err != nil {
		return err
	}
	layer, err := keyring.ParseLayer(in.Layer)
	if err != nil {
		return err
	}
	var ref *tenancy.VaultRef
	if in.Vault != "" {
		view, err := h.Guard.View(r.HTTP.Context(), in.Vault)
		if fault.Is(err, fault.NotFound) || err == nil && view.Vault.Tenant != r.Call.Caller.Tenant {
			return noVault(in.Vault)
		}
		if err != nil {
			return err
		}
		at := refOf(view.Vault)
		ref = &at
	}
	made, err := h.Tenancy.RotateKeys(r.HTTP.Context(), &r.Call, layer, ref)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, &api.KeysRotated{Made: made})
}

func (h *handler) listHolds(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	holds, err := h.Tenancy.Holds(r.HTTP.Context(), &r.Call, ref)
	if err != nil {
		return err
	}
	out := &api.HoldList{Items: []api.Hold{}}
	for _, hold := range holds {
		out.Items = append(out.Items, *wireHold(hold))
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) placeHold(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	var in api.PlaceHold
	if err := r.Decode(&in); err != nil {
		return err
	}
	spec := tenancy.HoldSpec{Name: in.Name, Why: in.Reason}
	if in.Kind != "" {
		if spec.Kind, err = heldKind(in.Kind); err != nil {
			return err
		}
	}
	if in.Until != nil {
		spec.Until = *in.Until
	}
	hold, err := h.Tenancy.Hold(r.HTTP.Context(), &r.Call, ref, spec)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusCreated, wireHold(hold))
}

// heldKind reads the kind of an object that can be held by itself.
func heldKind(s string) (vault.Kind, error) {
	for _, k := range []vault.Kind{vault.Secret, vault.Key, vault.Certificate} {
		if s == string(k) {
			return k, nil
		}
	}
	return "", fault.New(fault.Invalid, "there is no kind %q of objects to hold: use secret, key or certificate", fault.Clip(s))
}

func wireHold(h *object.Hold) *api.Hold {
	return &api.Hold{ID: h.ID, Kind: string(h.Kind), Name: h.Name, By: string(h.By), ByName: h.ByName, Reason: h.Why, Since: h.Since, Until: orNone(h.Until)}
}

// orNone is nil for the zero time.
func orNone(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (h *handler) liftHold(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	if err := h.Tenancy.LiftHold(r.HTTP.Context(), &r.Call, ref, r.Params.Get("hold")); err != nil {
		return err
	}
	r.Raw(http.StatusNoContent, nil)
	return nil
}

func (h *handler) listShredded(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	list, err := h.Tenancy.Shredded(r.HTTP.Context(), &r.Call, ref, r.HTTP.URL.Query().Get("all") == "true")
	if err != nil {
		return err
	}
	out := &api.ShreddedList{Items: []api.Shredded{}}
	for i := range list {
		s := &list[i]
		out.Items = append(out.Items, api.Shredded{Object: string(s.Object), Purged: s.At, Recoverable: wireRecoverable(s.Backups)})
	}
	return r.JSON(http.StatusOK, out)
}

func wireRecoverable(b object.Backups) api.Recoverable {
	return api.Recoverable{Backups: b.Any, Until: orNone(b.Until)}
}

// backupsOf serves until when backups can bring back what somebody is about to purge.
func backupsOf(of func(context.Context, *guard.Call, string) (object.Backups, error)) func(*door.Request) error {
	return func(r *door.Request) error {
		b, err := of(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
		if err != nil {
			return err
		}
		out := wireRecoverable(b)
		return r.JSON(http.StatusOK, &out)
	}
}
