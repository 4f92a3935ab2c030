package client_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func Example() {
	ctx := context.Background()
	c, err := client.NewFromEnv()
	if err != nil {
		log.Fatal(err)
	}
	vault := c.Vault("demo")
	if _, err := vault.Set(ctx, "db-password", []byte("correct horse")); err != nil {
		log.Fatal(err)
	}
	secret, err := vault.Get(ctx, "db-password")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(secret.Name, secret.Version, len(secret.Bytes()))
}

func ExampleNew() {
	pool, err := client.ReadCAFile("/etc/keywright/ca.pem")
	if err != nil {
		log.Fatal(err)
	}
	const server = "https://keywright.example.org"
	login := client.Authority{URL: "https://login.example.org", Tenant: "adfs"}
	c, err := client.New(client.Config{URL: server, RootCAs: pool, Tokens: client.NewFederated(login, "CLIENT-ID", "/var/run/secrets/token", server)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.URL())
}

func ExampleKindOf() {
	c, err := client.NewFromEnv()
	if err != nil {
		log.Fatal(err)
	}
	switch _, err := c.Vault("demo").Get(context.Background(), "db-password"); client.KindOf(err) {
	case client.NotFound:
		fmt.Println("set it first")
	case client.Forbidden:
		fmt.Println("ask for the role Key Vault Secrets User")
	}
}

func ExampleClient_CreateGrant() {
	c, err := client.NewFromEnv()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	v, err := c.ShowVault(ctx, "demo")
	if err != nil {
		log.Fatal(err)
	}
	tonight := time.Now().Add(8 * time.Hour)
	if _, err := c.CreateGrant(ctx, api.CreateGrant{Role: "Key Vault Secrets Officer", Principal: "ada@example.org", Scope: v.ID, Expires: &tonight}); err != nil {
		log.Fatal(err)
	}
}

func ExampleVault_List() {
	c, err := client.NewFromEnv()
	if err != nil {
		log.Fatal(err)
	}
	for secret, err := range c.Vault("demo").List(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(secret.Name, secret.Updated)
	}
}
