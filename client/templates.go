package client

import (
	"context"

	"github.com/keywright/keywright/client/api"
)

// SetTemplate composes a secret of others of the vault, and makes it when there is none of the name. It is made anew whenever a part changes.
func (v *Vault) SetTemplate(ctx context.Context, name, template string) (*api.SecretTemplate, error) {
	return do[api.SecretTemplate](ctx, v.c, "PUT", v.live(name)+"/template", nil, api.SetTemplate{Template: template})
}

// Template shows of what a secret is composed.
func (v *Vault) Template(ctx context.Context, name string) (*api.SecretTemplate, error) {
	return do[api.SecretTemplate](ctx, v.c, "GET", v.live(name)+"/template", nil, nil)
}

// DeleteTemplate takes the template of a secret away. The secret keeps its value.
func (v *Vault) DeleteTemplate(ctx context.Context, name string) error {
	return v.c.call(ctx, "DELETE", v.live(name)+"/template", nil, nil, nil)
}
