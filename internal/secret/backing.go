package secret

import "github.com/keywright/keywright/internal/object"

// Backing returns the secrets that stand behind certificates, for the service of certificates alone: they authorise and record nothing, and no door has
// them. Such a secret has the certificate with its key as its value, and may be larger than others.
func (s *Service) Backing() object.Moves { return s.objects.Moves(true) }
