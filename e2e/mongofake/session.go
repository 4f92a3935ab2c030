package mongofake

import (
	"errors"
	"fmt"
	"net"

	"github.com/xdg-go/scram"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// session is one connection.
type session struct {
	server *Server
	conn   net.Conn
	id     int64

	// login and app are guarded by the server's lock.
	login, app string
	talk       *scram.ServerConversation
	as         string
}

// Codes of errors: https://www.mongodb.com/docs/manual/reference/error-codes/
type codeError struct {
	code int32
	name string
	text string
}

func (e *codeError) Error() string { return e.text }

var (
	errUnauthorized = &codeError{13, "Unauthorized", "not authorized to execute this command"}
	errLogin        = &codeError{18, "AuthenticationFailed", "Authentication failed."}
	errUnknown      = &codeError{59, "CommandNotFound", "this is a protocol fake, which does not know the command"}
	errBad          = &codeError{2, "BadValue", "this is a protocol fake, which does not know the command in this form"}
	errNoUser       = &codeError{11, "UserNotFound", "could not find the user"}
	errSecondary    = &codeError{10107, "NotWritablePrimary", "not primary"}
	errRestricted   = &codeError{8000, "AtlasError", "logins of this user are held back"}
)

func (s *session) serve() {
	for {
		q, err := readRequest(s.conn)
		if err != nil {
			return
		}
		elements, err := q.body.Elements()
		if err != nil || len(elements) == 0 {
			return
		}
		s.server.mu.Lock()
		reply, err := s.run(elements[0].Key(), q.body)
		s.server.mu.Unlock()
		if err != nil {
			var known *codeError
			if !errors.As(err, &known) {
				known = errBad
			}
			reply = bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: known.text}, {Key: "code", Value: known.code}, {Key: "codeName", Value: known.name}}
		}
		if writeReply(s.conn, q, reply) != nil {
			return
		}
	}
}

func text(d bson.Raw, keys ...string) string {
	v, _ := d.Lookup(keys...).StringValueOK()
	return v
}

var ok = bson.E{Key: "ok", Value: 1.0}

// run carries a command out. The caller holds the server's lock.
func (s *session) run(name string, q bson.Raw) (bson.D, error) {
	s.note(name, q)
	switch name {
	case "hello", "isMaster", "ismaster":
		return s.hello(q), nil
	case "saslStart", "saslContinue":
		return s.sasl(name, q)
	case "ping", "endSessions":
		return bson.D{ok}, nil
	}
	me := s.server.users[s.login]
	if me == nil {
		return nil, errUnauthorized
	}
	switch name {
	case "buildInfo":
		return bson.D{{Key: "version", Value: "0.0.0-protocol-fake"}, ok}, nil
	case "connectionStatus":
		return s.status(me), nil
	case "usersInfo":
		return s.usersInfo(me, text(q, name, "user"))
	case "updateUser":
		return s.updateUser(me, q)
	case "aggregate":
		return s.currentOp(me, q)
	}
	return nil, errUnknown
}

// note logs a command without what MongoDB's log leaves out.
func (s *session) note(name string, q bson.Raw) {
	var d bson.D
	if s.server.log == nil || bson.Unmarshal(q, &d) != nil {
		return
	}
	for i := range d {
		if d[i].Key == "pwd" || d[i].Key == "payload" {
			d[i].Value = "xxx"
		}
	}
	_, _ = fmt.Fprintf(s.server.log, "%s %v\n", name, d)
}

func (s *session) hello(q bson.Raw) bson.D {
	if app := text(q, "client", "application", "name"); app != "" {
		s.app = app
	}
	d := bson.D{{Key: "helloOk", Value: true}, {Key: "isWritablePrimary", Value: s.server.primary}, {Key: "ismaster", Value: s.server.primary}, {Key: "maxBsonObjectSize", Value: int32(16 << 20)},
		{Key: "maxMessageSizeBytes", Value: int32(48000000)}, {Key: "maxWriteBatchSize", Value: int32(100000)}, {Key: "minWireVersion", Value: int32(0)}, {Key: "maxWireVersion", Value: int32(21)}}
	for name := range s.server.users {
		if text(q, "saslSupportedMechs") == "admin."+name {
			d = append(d, bson.E{Key: "saslSupportedMechs", Value: bson.A{"SCRAM-SHA-256"}})
		}
	}
	return append(d, ok)
}

func (s *session) sasl(name string, q bson.Raw) (bson.D, error) {
	if name == "saslStart" {
		s.talk, s.as, s.login = nil, "", ""
		if text(q, "mechanism") != "SCRAM-SHA-256" {
			return nil, errLogin
		}
		server, err := scram.SHA256.NewServer(func(name string) (scram.StoredCredentials, error) {
			u := s.server.users[name]
			if u == nil {
				return scram.StoredCredentials{}, errLogin
			}
			s.as = name
			return u.stored, nil
		})
		if err != nil {
			return nil, err
		}
		s.talk = server.NewConversation()
	}
	_, payload, is := q.Lookup("payload").BinaryOK()
	if s.talk == nil || !is {
		return nil, errLogin
	}
	if !s.talk.Done() {
		answer, err := s.talk.Step(string(payload))
		if err != nil {
			return nil, errLogin
		}
		payload = []byte(answer)
	} else {
		payload = nil
	}
	if s.talk.Valid() {
		if s.server.users[s.as].locked {
			return nil, errRestricted
		}
		s.login = s.as
	}
	return bson.D{{Key: "conversationId", Value: int32(1)}, {Key: "done", Value: s.talk.Valid()}, {Key: "payload", Value: bson.Binary{Data: payload}}, ok}, nil
}

func (s *session) status(me *user) bson.D {
	actions := bson.A{"find"}
	if me.admin {
		actions = append(actions, "changePassword", "viewUser", "inprog")
	}
	return bson.D{{Key: "authInfo", Value: bson.D{
		{Key: "authenticatedUsers", Value: bson.A{bson.D{{Key: "user", Value: s.login}, {Key: "db", Value: "admin"}}}},
		{Key: "authenticatedUserPrivileges", Value: bson.A{bson.D{{Key: "resource", Value: bson.D{{Key: "db", Value: ""}, {Key: "collection", Value: ""}}}, {Key: "actions", Value: actions}}}},
	}}, ok}
}

func (s *session) usersInfo(me *user, name string) (bson.D, error) {
	if !me.admin && name != s.login {
		return nil, errUnauthorized
	}
	users := bson.A{}
	if u := s.server.users[name]; u != nil {
		roles := bson.A{}
		for _, r := range u.roles {
			roles = append(roles, bson.D{{Key: "role", Value: r}, {Key: "db", Value: "admin"}})
		}
		users = append(users, bson.D{{Key: "_id", Value: "admin." + name}, {Key: "userId", Value: bson.Binary{Subtype: 4, Data: u.id}}, {Key: "user", Value: name}, {Key: "db", Value: "admin"},
			{Key: "roles", Value: roles}, {Key: "mechanisms", Value: bson.A{"SCRAM-SHA-256"}}})
	}
	return bson.D{{Key: "users", Value: users}, ok}, nil
}

func (s *session) updateUser(me *user, q bson.Raw) (bson.D, error) {
	name, pwd := text(q, "updateUser"), text(q, "pwd")
	u := s.server.users[name]
	roles, err := q.LookupErr("roles")
	switch {
	case !me.admin:
		return nil, errUnauthorized
	case !s.server.primary:
		return nil, errSecondary
	case u == nil:
		return nil, errNoUser
	case pwd == "" || text(q, "writeConcern", "w") != "majority":
		return nil, errBad
	case err == nil: // they are replaced, as the real one does
		u.roles = nil
		_ = roles
	}
	stored, err := credentials(name, pwd)
	if err != nil {
		return nil, errBad
	}
	u.stored = stored
	return bson.D{ok}, nil
}

// currentOp knows $currentOp with a $match of one user.
func (s *session) currentOp(me *user, q bson.Raw) (bson.D, error) {
	if _, err := q.LookupErr("pipeline", "0", "$currentOp"); err != nil {
		return nil, errBad
	}
	if !me.admin {
		return nil, errUnauthorized
	}
	name := text(q, "pipeline", "1", "$match", "effectiveUsers", "$elemMatch", "user")
	batch := bson.A{}
	for one := range s.server.sessions {
		if one.login == name && name != "" {
			batch = append(batch, bson.D{{Key: "type", Value: "idleSession"}, {Key: "connectionId", Value: one.id}, {Key: "client", Value: one.conn.RemoteAddr().String()}, {Key: "appName", Value: one.app},
				{Key: "effectiveUsers", Value: bson.A{bson.D{{Key: "user", Value: name}, {Key: "db", Value: "admin"}}}}})
		}
	}
	return bson.D{{Key: "cursor", Value: bson.D{{Key: "firstBatch", Value: batch}, {Key: "id", Value: int64(0)}, {Key: "ns", Value: "admin.$cmd.aggregate"}}}, ok}, nil
}
