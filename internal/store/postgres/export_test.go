package postgres

import "context"

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
