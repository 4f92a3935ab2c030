package archive

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// NotOpened is the reason of the refusal when none of the identities, nor the seal, opens a file.
const NotOpened fault.Reason = "BackupNotOpened"

// Reader reads one archive, once. It implements store.Source.
type Reader struct {
	Header Header
	// Sealed says that the seal opened the file: whoever wrote it had the seal. Of a file that one of the operator's identities alone opens nobody can say who wrote
	// it: the public key is enough for that, and is no secret.
	Sealed bool
	// Progress is of rows; nil counts none.
	Progress *Progress

	in *bufio.Reader
	// sealed is below the compression.
	sealed *bufio.Reader
	end    *End
	buf    []byte
}

// intro is what every file of age begins with (age-encryption.org/v1, File format).
const intro = "age-encryption.org/v1\n"

// Open begins to read an archive with whichever of the identities opens it. The seal is tried first, if it is among them.
func Open(r io.Reader, identities ...age.Identity) (*Reader, error) {
	order := sealFirst(identities)
	file := bufio.NewReader(r)
	first, err := file.Peek(len(intro))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the backup: %w", err)
	}
	if string(first) != intro { // age would show what it begins with: it may be a key
		return nil, fault.New(fault.Invalid, "the file is no backup: check its name")
	}
	plain, err := age.Decrypt(file, order)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, fault.New(fault.Invalid, "the backup does not open with the identities and the seal that were given: give the identity of one of its recipients, "+
			"or the seal of when it was made").Because(NotOpened)
	}
	if fault.As(err) != nil {
		return nil, err // of the seal
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the backup cannot be opened: it is damaged, or no backup")
	}
	sealed := bufio.NewReaderSize(plain, bufferBytes)
	packed, err := gzip.NewReader(sealed)
	if err != nil {
		return nil, damaged(err)
	}
	packed.Multistream(false)
	a := &Reader{in: bufio.NewReaderSize(packed, bufferBytes), sealed: sealed,
		Sealed: slices.ContainsFunc(order, func(i age.Identity) bool { u, ok := i.(*Unsealing); return ok && u.opened })}
	k, payload, err := readFrame(a.in, nil)
	if err != nil {
		return nil, damaged(err)
	}
	if k != kindHeader || json.Unmarshal(payload, &a.Header) != nil {
		return nil, fault.New(fault.Invalid, "the file is no backup of Keywright: it does not begin as one")
	}
	if a.Header.Format != Version {
		return nil, fault.New(fault.Invalid, "the backup is of format %d, and this release knows %d: use the release that made it, %s, or a newer one", a.Header.Format,
			Version, fault.Clip(a.Header.Release))
	}
	return a, CheckID(a.Header.ID)
}

// inOrder are identities that are tried one after the other: age itself tries those of its own kinds first.
type inOrder []age.Identity

// Unwrap implements age.Identity.
func (list inOrder) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, i := range list {
		if key, err := i.Unwrap(stanzas); !errors.Is(err, age.ErrIncorrectIdentity) {
			return key, err
		}
	}
	return nil, age.ErrIncorrectIdentity
}

func sealFirst(identities []age.Identity) (order inOrder) {
	isSeal := func(i age.Identity) bool { _, ok := i.(*Unsealing); return ok }
	for _, seals := range []bool{true, false} {
		for _, i := range identities {
			if isSeal(i) == seals {
				order = append(order, i)
			}
		}
	}
	return order
}

// damaged tells of a file that is not whole. A fault says already what is wrong.
func damaged(err error) error {
	if fault.As(err) != nil {
		return err
	}
	return fault.Wrap(err, fault.Invalid, "the backup is damaged: it was cut or changed since it was made, or cannot be read; use another copy of it, or another backup")
}

// Each implements store.Source. It returns without an error only when the file is whole to its end, and everything that its end tells of was given.
func (a *Reader) Each(ctx context.Context, to store.Sink) error {
	var got End
	var s sum
	var table *store.Table
	var values []any
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, payload, err := readFrame(a.in, a.buf)
		a.buf = payload
		if err != nil {
			return damaged(unexpected(err))
		}
		switch k {
		case kindTable:
			if table != nil {
				got.Tables = append(got.Tables, s.end())
			}
			before := table
			if table, err = parseTable(payload, before); err != nil {
				return err
			}
			s, values = sum{name: table.Name}, make([]any, len(table.Columns))
			if err := to.Table(table); err != nil {
				return err
			}
		case kindRow:
			if table == nil {
				return errRow
			}
			if err := parseRow(values, payload); err != nil {
				return err
			}
			s.add(payload)
			if a.Progress != nil {
				a.Progress.Rows.Add(1)
			}
			if err := to.Row(values); err != nil {
				return err
			}
		case kindEnd:
			if table != nil {
				got.Tables = append(got.Tables, s.end())
			}
			return a.finish(payload, &got)
		default:
			return fault.New(fault.Invalid, "the backup holds a record of the unknown kind %d: a newer release wrote it", k)
		}
	}
}

// End returns the sums of an archive that was read to its end; nil before.
func (a *Reader) End() *End { return a.end }

// finish compares what was read with what the end says, and reads what is behind it: only the end of the stream proves that nothing was cut off.
func (a *Reader) finish(payload []byte, got *End) error {
	want := new(End)
	if err := json.Unmarshal(payload, want); err != nil {
		return damaged(err)
	}
	if !slices.Equal(want.Tables, got.Tables) {
		return damaged(errors.New("the sums of the tables are others than its end tells"))
	}
	for _, r := range []*bufio.Reader{a.in, a.sealed} {
		if _, err := r.ReadByte(); err != io.EOF {
			return damaged(errors.Join(errors.New("there is something behind its end"), err))
		}
	}
	a.end = want
	return nil
}

// unexpected makes the end of a stream that should go on an error of its own.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseTable reads a table, which comes behind another one.
func parseTable(payload []byte, before *store.Table) (*store.Table, error) {
	t := new(store.Table)
	if err := json.Unmarshal(payload, t); err != nil {
		return nil, damaged(err)
	}
	if t.Name == "" || before != nil && t.Name <= before.Name || len(t.Columns) == 0 || !slices.IsSorted(t.Columns) {
		return nil, damaged(fmt.Errorf("the table %q comes out of its order", fault.Clip(t.Name)))
	}
	return t, nil
}
