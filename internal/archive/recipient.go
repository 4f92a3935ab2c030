package archive

import (
	"context"
	"encoding/base64"
	"strings"

	"filippo.io/age"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
)

// stanzaType is the type of the seal's stanza.
const stanzaType = "keywright-seal"

// fileKeyBytes is the length of an age file key (the age specification, "File key").
const fileKeyBytes = 16

// Sealed makes an archive open with the installation's seal. It is an age.Recipient.
type Sealed struct {
	// Ctx bounds the calls of the seal, which age's interface has no room for.
	Ctx  context.Context
	Seal seal.Seal
	// ID is the archive's.
	ID string
}

var _ age.Recipient = (*Sealed)(nil)

// bind is the additional data of a wrapped file key.
func bind(id string) []byte { return []byte("keywright/archive/file-key/1\x00" + id) }

// Wrap implements age.Recipient.
func (s *Sealed) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	wrapped, err := s.Seal.Wrap(s.Ctx, fileKey, bind(s.ID))
	if err != nil {
		return nil, err
	}
	name := base64.RawURLEncoding.EncodeToString([]byte(s.Seal.Name()))
	return []*age.Stanza{{Type: stanzaType, Args: []string{name, s.ID}, Body: wrapped}}, nil
}

// Unsealing opens archives with the installation's seal. It is an age.Identity.
type Unsealing struct {
	Ctx  context.Context
	Seal seal.Seal
	// Shares asks people for the shares of a seal that waits for them, which have to open the archive. Nil when nobody can be asked.
	Shares func(ctx context.Context, g seal.Gatherer) error

	// opened is set when the seal gave the key of a file.
	opened bool
}

var _ age.Identity = (*Unsealing)(nil)

// Unwrap implements age.Identity.
func (u *Unsealing) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		if s.Type != stanzaType || len(s.Args) != 2 || CheckID(s.Args[1]) != nil {
			continue
		}
		if g, ok := u.Seal.(seal.Gatherer); ok && u.Shares != nil && !g.Progress().Open {
			if g.Expect(s.Body, bind(s.Args[1])) != nil {
				continue // of another seal
			}
			if err := u.Shares(u.Ctx, g); err != nil {
				return nil, err
			}
		}
		key, err := u.Seal.Unwrap(u.Ctx, s.Body, bind(s.Args[1]))
		if fault.Is(err, fault.Invalid) {
			continue // of another seal
		}
		if err != nil {
			return nil, err
		}
		if len(key) != fileKeyBytes {
			clear(key)
			continue
		}
		u.opened = true
		return key, nil
	}
	return nil, age.ErrIncorrectIdentity
}

// ParseRecipients reads recipients of the operator: public keys of X25519 as the age program prints them, age1….
func ParseRecipients(list []string) ([]age.Recipient, error) {
	recipients := make([]age.Recipient, 0, len(list))
	for _, text := range list {
		r, err := age.ParseX25519Recipient(strings.TrimSpace(text))
		if err != nil {
			return nil, fault.New(fault.Invalid, "%q is no recipient of backups: give a public key such as age-keygen prints, which begins with age1", fault.Clip(text))
		}
		recipients = append(recipients, r)
	}
	return recipients, nil
}

// ParseIdentities reads a file of identities, as age-keygen writes it. Its content is in no error.
func ParseIdentities(content []byte) ([]age.Identity, error) {
	ids, err := age.ParseIdentities(strings.NewReader(string(content)))
	if err != nil {
		return nil, fault.New(fault.Invalid, "the file of identities cannot be read: it has to hold lines such as age-keygen writes, which begin with AGE-SECRET-KEY-1")
	}
	return ids, nil
}
