package sqlite

import "context"

// Step is a step of this engine's schema, counted from 1.
var Step = step

// Probe makes one durable write that the journal does not show.
func (s *Store) Probe(ctx context.Context) error { return s.probe(ctx) }
