package tdsfake

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf16"
)

// execute carries a request out and returns its whole reply. It stops early, with a reply that nobody reads, when ctx
// ends.
func (s *session) execute(ctx context.Context, m message) *reply {
	if m.reset {
		s.open = nil
	}
	r := &reply{}
	final := byte(tokenDone)
	var err error
	switch {
	case m.ignore:
		r.done(tokenDone, doneError, 0)
		return r
	case m.kind == kindBatch:
		err = s.batch(ctx, r, m.payload)
	case m.kind == kindRPC:
		final = tokenDoneProc
		err = s.rpc(ctx, r, m.payload)
	case m.kind == kindTransaction:
		err = s.transact(r, m.payload)
	default:
		err = fmt.Errorf("requests of type %#02x are beyond this protocol fake", byte(m.kind))
	}
	if err != nil {
		var known *sqlError
		if !errors.As(err, &known) {
			known = errSyntax(err.Error())
		}
		if m.kind == kindBatch {
			s.open = nil // as with XACT_ABORT
		}
		s.server.log.Info("request refused", "login", clip(s.login), "number", known.number)
		r.failure(known)
		r.done(final, doneError, 0)
	}
	return r
}

// batch ends each statement with a DONE; all but the last say that more follows.
func (s *session) batch(ctx context.Context, r *reply, payload []byte) error {
	text, err := parseBatch(payload)
	if err != nil {
		return err
	}
	if done, err := s.known(ctx, r, text, nil); done || err != nil {
		if err == nil {
			r.done(tokenDone, doneCount, 0)
		}
		return err
	}
	statements, err := parse(text)
	if err != nil {
		return err
	}
	if onlySettings(statements) {
		r.done(tokenDone, 0, 0)
		return nil
	}
	for i, statement := range statements {
		rows, err := s.run(ctx, r, statement, nil)
		if err != nil {
			return err
		}
		status := uint16(doneCount)
		if rows == 0 {
			status = 0
		}
		if i < len(statements)-1 {
			status |= doneMore
		}
		r.done(tokenDone, status, rows)
	}
	return nil
}

// onlySettings is true of what a driver sends after login, to which it expects one DONE, and of an empty batch.
func onlySettings(statements []any) bool {
	for _, statement := range statements {
		if _, ok := statement.(setStatement); !ok {
			return false
		}
	}
	return true
}

// rpc closes each statement with DONEINPROC: mssql drops rows that a DONEPROC closes.
func (s *session) rpc(ctx context.Context, r *reply, payload []byte) error {
	c, err := parseRPC(payload)
	if err != nil {
		return err
	}
	text, parameters, err := c.statement()
	if err != nil {
		return err
	}
	if done, err := s.known(ctx, r, text, parameters); done || err != nil {
		if err == nil {
			r.done(tokenDoneInProc, doneMore|doneCount, 0)
			r.returnStatus(0)
			r.done(tokenDoneProc, 0, 0)
		}
		return err
	}
	statements, err := parse(text)
	if err != nil {
		return err
	}
	for _, statement := range statements {
		rows, err := s.run(ctx, r, statement, parameters)
		if err != nil {
			return err
		}
		r.done(tokenDoneInProc, doneMore|doneCount, rows)
	}
	r.returnStatus(0)
	r.done(tokenDoneProc, 0, 0)
	return nil
}

// run carries out one statement, appends its result set, if it has one, and returns the number of its rows.
func (s *session) run(ctx context.Context, r *reply, statement any, parameters map[string]any) (rows uint64, err error) {
	switch statement := statement.(type) {
	case setStatement:
		return 0, nil
	case waitFor:
		timer := time.NewTimer(statement.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return 0, nil
	case alterLogin:
		return 0, s.alter(statement)
	case beginTransaction:
		if s.open != nil {
			return 0, errSyntax("a transaction within a transaction")
		}
		s.open = &transaction{id: s.server.transactionID()}
		return 0, nil
	case commitTransaction:
		if s.open == nil {
			return 0, errNothingToCommit()
		}
		s.commit()
		return 0, nil
	case throw:
		if statement.after.IsZero() || !time.Now().UTC().Before(statement.after) {
			return 0, &sqlError{uint32(statement.number), 1, 16, statement.text}
		}
		return 0, nil
	case selectStatement:
		value, err := s.evaluate(statement, parameters)
		if err != nil {
			return 0, err
		}
		r.row(statement.column, value)
		return 1, nil
	}
	return 0, fmt.Errorf("statement %T has no meaning", statement)
}

func (s *session) alter(change alterLogin) error {
	if err := s.server.logins.permit(s.login, change); err != nil {
		return err
	}
	if s.open != nil {
		s.open.changes = append(s.open.changes, change)
		return nil
	}
	s.server.logins.apply(change)
	s.server.log.Info("login changed", "login", clip(change.login), "by", clip(s.login))
	return nil
}

// commit makes the changes of the open transaction, and ends it.
func (s *session) commit() {
	for _, change := range s.open.changes {
		s.server.logins.apply(change)
		s.server.log.Info("login changed", "login", clip(change.login), "by", clip(s.login))
	}
	s.open = nil
}

// evaluate returns an int64, or a string that fits into a column.
func (s *session) evaluate(statement selectStatement, parameters map[string]any) (any, error) {
	value := statement.value
	if name, ok := value.(parameter); ok {
		if value, ok = parameters[string(name)]; !ok {
			return nil, errSyntax("it uses a parameter that it does not declare")
		}
	}
	switch statement.what {
	case selectVersion:
		return versionText, nil
	case selectLogin:
		return s.login, nil
	case selectSessions:
		login, ok := value.(string)
		if !ok {
			return nil, errSyntax("login_name compared with something other than a text")
		}
		return int64(s.server.Sessions(login)), nil
	}
	text, ok := value.(string)
	switch {
	case value == nil:
		return nil, errSyntax("SELECT of a NULL")
	case ok && len(utf16.Encode([]rune(text))) > maxNVarchar:
		return nil, errTooLong()
	}
	return value, nil
}

// transact answers the requests behind a driver's begin, commit and rollback.
func (s *session) transact(r *reply, payload []byte) error {
	request, err := parseTransaction(payload)
	if err != nil {
		return err
	}
	switch request {
	case transactionBegin:
		if s.open != nil {
			return errSyntax("a transaction within a transaction")
		}
		s.open = &transaction{id: s.server.transactionID()}
		r.transaction(envBegin, s.open.id)
	case transactionCommit:
		if s.open == nil {
			return errNothingToCommit()
		}
		r.transaction(envCommit, s.open.id)
		s.commit()
	case transactionRollback:
		if s.open == nil {
			return errNothingToRollBack()
		}
		r.transaction(envRollback, s.open.id)
		s.open = nil
	default:
		return fmt.Errorf("transaction requests of type %d are beyond this protocol fake", request)
	}
	r.done(tokenDone, 0, 0)
	return nil
}
