package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/keywright/keywright/internal/cli"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/server"
)

// withShares opens the seal with shares where a configuration or a flag says that people hold them.
func withShares(o *server.Offline, shares *cli.Shares) error {
	shares.Held = shares.Held || o.Seal.Shares
	if err := shares.Open(o.File); err != nil {
		return err
	}
	if o.Seal.Shares = shares.Held; shares.Held {
		o.Shares = func(ctx context.Context, g seal.Gatherer) error { return gather(ctx, g, shares) }
	}
	return nil
}

// gather gives shares to a seal until it is open. At a prompt a wrong one is told, and asked for again.
func gather(ctx context.Context, g seal.Gatherer, shares *cli.Shares) error {
	for p := g.Progress(); !p.Open; {
		share, err := shares.Next(fmt.Sprintf("Share %d of %d that open (of the set %s): ", p.Given+1, p.Needed, p.Set))
		if errors.Is(err, io.EOF) && !shares.Asks() {
			return fault.New(fault.Invalid, "%d shares were given, and it takes %d: give more with --share-file", p.Given, p.Needed)
		}
		if err != nil {
			return fmt.Errorf("reading a share: %w", err)
		}
		p, err = g.Give(ctx, share)
		clear(share)
		switch {
		case err == nil:
		case shares.Asks() && (fault.Is(err, fault.Invalid) || fault.Is(err, fault.Throttled)):
			shares.Say(err)
		default:
			return err
		}
	}
	return nil
}
