package native

import (
	"context"
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/secret"
)

func (h *handler) list(r *door.Request, find func(context.Context, *guard.Call, secret.Page) (secret.Listing, error)) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	found, err := find(r.HTTP.Context(), &r.Call, secret.Page{After: after, Limit: limit})
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireSecrets(r, &found))
}

func (h *handler) listVersions(r *door.Request) error {
	return h.list(r, func(ctx context.Context, call *guard.Call, p secret.Page) (secret.Listing, error) {
		return h.Secrets.Versions(ctx, call, r.Params.Get("name"), p)
	})
}

func wireSecrets(r *door.Request, found *secret.Listing) api.SecretList {
	out := api.SecretList{Items: make([]api.Secret, 0, len(found.Items))}
	for i := range found.Items {
		out.Items = append(out.Items, *wireSecret(r, &found.Items[i]))
	}
	if found.Next != "" {
		out.Next = next(found.Next)
	}
	return out
}
