package sqlite

import (
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store/relational"
)

// code returns SQLite's primary result code, and that of an error without particulars for an error that is not SQLite's.
func code(err error) sqlite.ResultCode { return sqlite.ErrCode(err).ToPrimary() }

// classify says what an error of a statement means for its transaction: the end of it, or that a key is taken.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case code(err) == sqlite.ResultConstraint:
		return fmt.Errorf("%w: %w", relational.ErrTaken, err)
	case endsTransaction(err):
		return unavailable(err)
	}
	return err
}

// endsTransaction reports that SQLite may have rolled back the transaction by itself (https://www.sqlite.org/lang_transaction.html,
// "Response To Errors Within A Transaction"), or that the file cannot be trusted now. A further statement would then run, and
// commit, on its own; so nothing more is run before an explicit ROLLBACK.
func endsTransaction(err error) bool {
	switch code(err) {
	case sqlite.ResultFull, sqlite.ResultIOErr, sqlite.ResultNoMem, sqlite.ResultBusy, sqlite.ResultInterrupt,
		sqlite.ResultCorrupt, sqlite.ResultNotADB, sqlite.ResultCantOpen, sqlite.ResultReadOnly, sqlite.ResultProtocol:
		return true
	}
	return false
}

// unavailable says why the store cannot serve now.
func unavailable(err error) error {
	switch {
	case err == nil:
		return nil
	case fault.Is(err, fault.Unavailable):
		return err
	case code(err) == sqlite.ResultFull:
		return fault.Wrap(err, fault.Unavailable,
			"the store cannot take writes: its disk is full; free space, and writes resume by themselves")
	case code(err) == sqlite.ResultCorrupt || code(err) == sqlite.ResultNotADB:
		return fault.Wrap(err, fault.Unavailable, "the store's file is damaged: stop the server and restore a backup")
	}
	return fault.Wrap(err, fault.Unavailable, "the store cannot serve now: its disk answers with errors; see the log")
}

// errClosed is the answer of a closed store.
func errClosed() error { return fault.New(fault.Unavailable, "the store is closed") }
