package tdsfake

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The statements that this fake knows. Operands are an int64, a string or a parameter.
type (
	// setStatement is SET …: accepted and without effect.
	setStatement struct{}

	// selectStatement is SELECT operand [[AS] column]; login is set for the count of a login's sessions.
	selectStatement struct {
		column string
		what   selected
		value  any // of selectValue and of selectSessions
	}

	alterLogin struct {
		login       string
		password    string
		old         string
		oldPassword bool // OLD_PASSWORD was given
		hash        []byte
		turn        string // ENABLE or DISABLE, in place of a password
	}

	waitFor struct{ delay time.Duration }

	// beginTransaction, commitTransaction are BEGIN TRANSACTION and COMMIT TRANSACTION in text.
	beginTransaction  struct{}
	commitTransaction struct{}

	// throw is THROW number, text, state; it happens only after the server's clock passed a time, when it stands after IF SYSUTCDATETIME() >= text.
	throw struct {
		after  time.Time
		number int64
		text   string
	}
)

// selected is what a SELECT asks for.
type selected byte

const (
	selectValue selected = iota
	selectVersion
	selectLogin
	selectSessions
)

// parameter is a reference to a parameter, with its @, in lower case.
type parameter string

// maxDelay is the longest WAITFOR, so that a test which forgets to cancel one still ends.
const maxDelay = time.Minute

// parse reads a batch. A SET ends at a semicolon or at the end of its line, as drivers write them; any other statement
// at a semicolon or where the next begins.
func parse(sql string) ([]any, error) {
	p := &parser{words: lex(sql)}
	var statements []any
	for p.err == nil {
		for p.accept(";") {
		}
		if p.peek().kind == wordEnd {
			return statements, nil
		}
		statements = append(statements, p.statement())
	}
	return nil, p.err
}

type parser struct {
	words []word
	err   error
}

func (p *parser) peek() word { return p.words[0] }

// next consumes a token; the last one, wordEnd or wordIllegal, stays.
func (p *parser) next() word {
	w := p.words[0]
	if len(p.words) > 1 {
		p.words = p.words[1:]
	}
	return w
}

func (p *parser) accept(text string) bool {
	if !p.peek().is(text) {
		return false
	}
	p.next()
	return true
}

// expect consumes the sequence of keywords and symbols.
func (p *parser) expect(texts ...string) {
	for _, text := range texts {
		if p.err == nil && !p.accept(text) {
			p.fail("expected " + text)
		}
	}
}

func (p *parser) fail(what string) {
	if p.err == nil {
		p.err = errSyntax(what)
	}
}

func (p *parser) statement() any {
	switch {
	case p.peek().is("SET"):
		line := p.peek().line
		for w := p.peek(); w.kind != wordEnd && w.kind != wordIllegal && w.line == line && !w.is(";"); w = p.peek() {
			p.next()
		}
		return setStatement{}
	case p.accept("SELECT"):
		return p.selection()
	case p.accept("ALTER"):
		return p.alteration()
	case p.accept("BEGIN"):
		p.expect("TRANSACTION")
		return beginTransaction{}
	case p.accept("COMMIT"):
		p.expect("TRANSACTION")
		return commitTransaction{}
	case p.accept("IF"):
		return p.condition()
	case p.accept("THROW"):
		return p.thrown()
	case p.accept("WAITFOR"):
		p.expect("DELAY")
		return waitFor{p.delay()}
	}
	p.fail("it begins with none of SET, SELECT, ALTER LOGIN, WAITFOR DELAY, BEGIN and COMMIT TRANSACTION, IF, THROW")
	return nil
}

func (p *parser) selection() selectStatement {
	var s selectStatement
	switch {
	case p.accept("@@VERSION"):
		s.what = selectVersion
	case p.accept("SUSER_SNAME"), p.accept("ORIGINAL_LOGIN"):
		p.expect("(", ")")
		s.what = selectLogin
	case p.accept("COUNT"):
		p.expect("(", "*", ")")
		s.what = selectSessions
	default:
		s.value = p.operand()
	}
	if p.accept("AS") || p.peek().kind == wordQuoted {
		s.column = p.name()
	}
	if s.what == selectSessions {
		p.expect("FROM", "sys", ".", "dm_exec_sessions", "WHERE", "login_name", "=")
		s.value = p.operand()
	}
	return s
}

func (p *parser) alteration() alterLogin {
	p.expect("LOGIN")
	a := alterLogin{login: p.name()}
	for _, turn := range []string{"ENABLE", "DISABLE"} {
		if p.accept(turn) {
			a.turn = turn
			return a
		}
	}
	p.expect("WITH", "PASSWORD", "=")
	if p.peek().kind == wordBinary {
		var err error
		if a.hash, err = hex.DecodeString(p.next().text); err != nil || !validHash(a.hash) {
			if p.err == nil {
				p.err = errHash()
			}
		}
		p.expect("HASHED")
		return a
	}
	a.password = p.text()
	if p.accept("OLD_PASSWORD") {
		p.expect("=")
		a.old, a.oldPassword = p.text(), true
	}
	return a
}

// condition reads SYSUTCDATETIME() >= 'time' THROW …
func (p *parser) condition() any {
	p.expect("SYSUTCDATETIME", "(", ")", ">", "=")
	after, err := time.Parse("2006-01-02T15:04:05.999999", p.text())
	if err != nil {
		p.fail("expected a time")
	}
	p.expect("THROW")
	t := p.thrown()
	t.after = after
	return t
}

func (p *parser) thrown() throw {
	var t throw
	number, ok := p.operand().(int64)
	p.expect(",")
	t.number, t.text = number, p.text()
	p.expect(",")
	if _, state := p.operand().(int64); !ok || !state {
		p.fail("THROW takes a number, a text and a state")
	}
	return t
}

func (p *parser) operand() any {
	w := p.next()
	switch {
	case w.kind == wordText:
		return w.text
	case w.kind == wordNumber:
		n, err := strconv.ParseInt(w.text, 10, 64)
		if err != nil {
			p.fail("a number is too large")
		}
		return n
	case w.kind == wordPlain && strings.HasPrefix(w.text, "@"):
		return parameter(strings.ToLower(w.text))
	}
	p.fail("expected a number, a text or a parameter")
	return nil
}

func (p *parser) name() string {
	w := p.next()
	if w.kind != wordPlain && w.kind != wordQuoted {
		p.fail("expected a name")
	}
	return w.text
}

func (p *parser) text() string {
	w := p.next()
	if w.kind != wordText {
		p.fail("expected a text")
	}
	return w.text
}

// delay reads 'hh:mm:ss', optionally with a fraction.
func (p *parser) delay() time.Duration {
	text := p.text()
	var hours, minutes int
	var seconds float64
	if _, err := fmt.Sscanf(text, "%d:%d:%g", &hours, &minutes, &seconds); err != nil ||
		hours < 0 || hours > 23 || minutes < 0 || minutes > 59 || !(seconds >= 0 && seconds < 60) {
		p.fail("WAITFOR DELAY takes 'hh:mm:ss'")
		return 0
	}
	delay := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute +
		time.Duration(seconds*float64(time.Second))
	return min(delay, maxDelay)
}
