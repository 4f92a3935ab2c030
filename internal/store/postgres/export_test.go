package postgres

import (
	"context"
	"net"
)

// TakeSteps makes a schema that has so many steps, as a release before this one left it.
func TakeSteps(ctx context.Context, cfg Config, n int) error {
	s := &Store{config: cfg, log: cfg.Logger}
	c, err := s.connect(ctx, writer)
	if err != nil {
		return err
	}
	defer c.close()
	if err := s.found(ctx, c); err != nil {
		return err
	}
	for range n {
		if _, err := s.takeStep(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// PeerTimeout is how long what was sent may stay unacknowledged.
const PeerTimeout = peerTimeout

// GiveUpOn prepares a connection as those of the store are.
func GiveUpOn(c net.Conn) error { return giveUpOn(c, peerTimeout) }
