package main

import (
	"errors"
	"fmt"
	"time"
)

// besideGrants measures while a grant changes every second in another place of the tenant: what does not concern the vault
// must not cost it.
func (b *bench) besideGrants(p *product, measure measurement) measurement {
	return func(d time.Duration) (figure, error) {
		stop, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- p.changeGrants(stop) }()
		f, err := measure(d)
		close(stop)
		return f, errors.Join(err, <-done)
	}
}

// changeGrants changes a grant every second until it is stopped, from half a second on: once in each second, however short the slices are.
func (p *product) changeGrants(stop <-chan struct{}) error {
	next := time.NewTimer(time.Second / 2)
	defer next.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		case <-next.C:
		}
		if err := p.changeGrant(n); err != nil {
			return err
		}
		next.Reset(time.Second)
	}
}

// secretsUser is the id of the role Key Vault Secrets User.
const secretsUser = "4633458b-17de-408a-b874-0445c86b69e6"

// elsewhere is a resource group beside the vault's.
func (p *product) elsewhere() string {
	return "/subscriptions/" + p.env["KEYWRIGHT_SUBSCRIPTION_ID"] + "/resourceGroups/elsewhere"
}

// makeElsewhere makes the group in which grants will change.
func (p *product) makeElsewhere() error {
	arm := p.env["KEYWRIGHT_ARM_URL"]
	token, err := p.token(p.env["AZURE_CLIENT_ID"], p.env["AZURE_CLIENT_SECRET"], arm)
	if err != nil {
		return err
	}
	_, _, err = p.call("PUT", arm+p.elsewhere()+"?api-version=2021-04-01", token, `{"location":"local"}`)
	return err
}

// changeGrant assigns a role on a resource group beside the vault's, or withdraws it.
func (p *product) changeGrant(n int) error {
	arm := p.env["KEYWRIGHT_ARM_URL"]
	token, err := p.token(p.env["AZURE_CLIENT_ID"], p.env["AZURE_CLIENT_SECRET"], arm)
	if err != nil {
		return err
	}
	scope := p.elsewhere()
	address := fmt.Sprintf("%s%s/providers/Microsoft.Authorization/roleAssignments/6d6f0b54-6d0c-4f0b-9a51-000000000001?api-version=2022-04-01", arm, scope)
	if n%2 == 1 {
		_, _, err = p.call("DELETE", address, token, "")
		return err
	}
	_, _, err = p.call("PUT", address, token, `{"properties":{"roleDefinitionId":"`+scope+`/providers/Microsoft.Authorization/roleDefinitions/`+secretsUser+
		`","principalId":"`+p.principal+`","principalType":"ServicePrincipal"}}`)
	return err
}
