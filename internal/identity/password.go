package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

// Argon2id parameters: the first choice of the OWASP password storage cheat sheet (19 MiB, two passes, one lane).
const (
	argonMemory = 19 * 1024 // KiB
	argonTime   = 2
	argonLanes  = 1
	argonSalt   = 16
	argonSum    = 32
)

// Bounds of a password in bytes. What is longer would only cost time; NIST SP 800-63B-4 asks for 15 where it stands alone and 8
// where it does not.
const (
	minPassword = 10
	maxPassword = 256
)

// PreparePassword prepares to set a user's password, which signs in only together with a code. An empty one removes it.
func (s *Service) PreparePassword(ctx context.Context, t vault.TenantID, id principal.ID, password redact.String) (Change, error) {
	var digest []byte
	if password != "" {
		text := password.Reveal()
		if len(text) < minPassword || len(text) > maxPassword || !utf8.ValidString(text) {
			return nil, invalid(WrongRequest, "A password has %d to %d bytes.", minPassword, maxPassword)
		}
		salt := make([]byte, argonSalt)
		rand.Read(salt)
		sum, err := s.argon(ctx, text, salt)
		if err != nil {
			return nil, err
		}
		digest = formatPassword(salt, sum)
	}
	return s.alter(t, id, func(p *principal.Principal) error {
		if p.Kind != principal.User {
			return invalid(WrongRequest, "The principal %s is not a user; only those have passwords.", id)
		}
		p.Password = digest
		return nil
	}), nil
}

// formatPassword writes a digest in the string format of the reference implementation:
//
//	$argon2id$v=19$m=19456,t=2,p=1$SALT$SUM
func formatPassword(salt, sum []byte) []byte {
	enc := base64.RawStdEncoding
	return fmt.Appendf(nil, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes,
		enc.EncodeToString(salt), enc.EncodeToString(sum))
}

// parsePassword reads what formatPassword wrote with the present parameters.
func parsePassword(digest []byte) (salt, sum []byte, ok bool) {
	head := fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, argonMemory, argonTime, argonLanes)
	rest, ok := strings.CutPrefix(string(digest), head)
	if !ok {
		return nil, nil, false
	}
	first, second, _ := strings.Cut(rest, "$")
	salt, errSalt := base64.RawStdEncoding.DecodeString(first)
	sum, errSum := base64.RawStdEncoding.DecodeString(second)
	if errSalt != nil || errSum != nil || len(salt) != argonSalt || len(sum) != argonSum {
		return nil, nil, false
	}
	return salt, sum, true
}

// passwordMatches takes the same time for a user without a password, so that nobody learns who has one.
func (s *Service) passwordMatches(ctx context.Context, digest []byte, password redact.String) (bool, error) {
	salt, want, ok := parsePassword(digest)
	if !ok {
		salt, want = make([]byte, argonSalt), make([]byte, argonSum)
	}
	if len(password) > maxPassword {
		return false, nil
	}
	sum, err := s.argon(ctx, password.Reveal(), salt)
	if err != nil {
		return false, err
	}
	return ok && subtle.ConstantTimeCompare(sum, want) == 1, nil
}

// argon digests a password. As many run at once as there are cores: each takes 19 MiB.
func (s *Service) argon(ctx context.Context, password string, salt []byte) ([]byte, error) {
	select {
	case s.heavy <- struct{}{}:
		defer func() { <-s.heavy }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonLanes, argonSum), nil
}
