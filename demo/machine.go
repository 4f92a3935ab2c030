package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/client"
)

// machine stands for one of several on which consumers run: everything that one does comes from 127.0.0.N, so that the database's sessions can be told
// apart by address, as on a real network.
type machine byte

// firstMachine has the first address that is nobody else's: this demo, Keywright and the database are at 127.0.0.1.
const firstMachine = 2

func (m machine) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(m))}, Timeout: 5 * time.Second}
	return d.DialContext(ctx, network, address)
}

// connect signs in at the database.
func (m machine) connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errConfig
	}
	config.DialFunc = m.dial
	return pgx.ConnectConfig(ctx, config)
}

// as returns a client on a machine, with the application's identity. Its calls are not repeated: the application polls anyway.
func (c *changing) as(instance string, on machine) (*client.Vault, error) {
	config, err := client.ConfigFromEnv(func(name string) string { return c.keywright.env[name] })
	if err != nil {
		return nil, err
	}
	config.Instance, config.Retries = instance, -1
	config.HTTP = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: on.dial, TLSClientConfig: &tls.Config{RootCAs: config.RootCAs}}}
	config.Tokens = client.NewManagedIdentity(c.keywright.env["IDENTITY_ENDPOINT"], c.keywright.env["IDENTITY_HEADER"], config.URL)
	k, err := client.New(config)
	if err != nil {
		return nil, err
	}
	return k.Vault(vaultName), nil
}
