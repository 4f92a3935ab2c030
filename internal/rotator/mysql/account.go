package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/keywright/keywright/internal/redact"
)

// passwordless are the plugins that know somebody by something else than a password. They stay beside the passwords of a row.
var passwordless = map[string]bool{"unix_socket": true, "auth_socket": true, "gssapi": true, "named_pipe": true}

// row is what a server has for one name@host.
type row struct {
	user, host string
	// methods are the ways in: on MySQL the primary and the secondary password.
	methods []method
	locked  bool
	role    bool
}

func (r row) String() string { return fmt.Sprintf("%q@%q", r.user, r.host) }

// sql is the quoted name.
func (r row) sql() string { return quoteName(r.user) + "@" + quoteName(r.host) }

func (r row) places() (p places) {
	if len(r.methods) > 0 {
		p.primary = r.methods[0]
	}
	if len(r.methods) > 1 {
		p.secondary = r.methods[1]
	}
	return p
}

// methodOf is the present method that accepts the value, or else a new one.
func (r row) methodOf(v redact.Bytes, plugin string) method {
	for _, m := range r.methods {
		if m.accepts(v) {
			return m
		}
	}
	return hashed(plugin, v)
}

// lockClause locks a closed row and, where the goal allows it, unlocks an open one.
func (r row) lockClause(g goal) string {
	switch {
	case len(g.values) == 0 && !r.locked:
		return " ACCOUNT LOCK"
	case len(g.values) > 0 && g.unlock && r.locked:
		return " ACCOUNT UNLOCK"
	default:
		return ""
	}
}

// strangers counts the passwords of a row that none of the values opens.
func (r row) strangers(values ...redact.Bytes) (n int) {
	for _, m := range r.methods {
		known := slices.ContainsFunc(values, m.accepts)
		if !passwordless[m.plugin] && m.stored != "" && !known {
			n++
		}
	}
	return n
}

// plugin chooses by which a row stores its passwords: the configured one, or that of its first password. It returns a sentence when there is none.
func (r row) plugin(configured string, mariadb bool) (plugin, wrong string) {
	plugin = configured
	for _, m := range r.methods {
		switch {
		case passwordless[m.plugin] && mariadb:
		case configured != "":
		case hashers[m.plugin] == nil:
			return "", fmt.Sprintf("%v uses the plugin %q: set plugin in the configuration to replace it", r, m.plugin)
		case plugin == "":
			plugin = m.plugin
		}
	}
	switch {
	case plugin == "":
		return "", fmt.Sprintf("%v has no password: set plugin in the configuration to give it one", r)
	case mariadb && plugin == cachingSHA2, !mariadb && plugin == ed25519:
		return "", fmt.Sprintf("%v would get the plugin %q, which this server does not have: choose another", r, plugin)
	}
	return plugin, ""
}

// rows reads what the server has for an account, ordered by host. The comparison is made here: the server's own pads with spaces.
func (s *session) rows(ctx context.Context, account string) ([]row, error) {
	read := s.mysqlRows
	if s.server.mariadb {
		read = s.mariadbRows
	}
	found, err := read(ctx, account)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(r row) bool { return r.user != account })
	slices.SortFunc(found, func(a, b row) int {
		switch {
		case a.host < b.host:
			return -1
		case a.host > b.host:
			return 1
		}
		return 0
	})
	return found, nil
}

func (s *session) mariadbRows(ctx context.Context, account string) ([]row, error) {
	cells, err := s.query(ctx, "SELECT User, Host, Priv FROM mysql.global_priv WHERE User = ?", account)
	if err != nil {
		return nil, err
	}
	var found []row
	for _, c := range cells {
		r, err := parsePriv(c[0], c[1], []byte(c[2]))
		if err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	return found, nil
}

// parsePriv reads a document of mysql.global_priv: https://mariadb.com/kb/en/mysqlglobal_priv-table/. With auth_or, an empty element stands for
// the plugin and text outside of the list.
func parsePriv(user, host string, document []byte) (row, error) {
	type way struct {
		Plugin string `json:"plugin"`
		Stored string `json:"authentication_string"`
	}
	var d struct {
		way
		Or     []way `json:"auth_or"`
		Locked bool  `json:"account_locked"`
		Role   bool  `json:"is_role"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		// Not the cause: it may quote the document.
		return row{}, fmt.Errorf("the rights of %q@%q are no document that can be read", user, host)
	}
	if d.Plugin == "" {
		d.Plugin = native
	}
	ways := d.Or
	if len(ways) == 0 {
		ways = []way{{}}
	}
	r := row{user: user, host: host, locked: d.Locked, role: d.Role}
	for _, w := range ways {
		if w == (way{}) {
			w = d.way
		}
		r.methods = append(r.methods, method{plugin: w.Plugin, stored: w.Stored})
	}
	return r, nil
}

func (s *session) mysqlRows(ctx context.Context, account string) ([]row, error) {
	cells, err := s.query(ctx, `SELECT User, Host, plugin, authentication_string, account_locked,
		JSON_UNQUOTE(JSON_EXTRACT(User_attributes, '$.additional_password')) FROM mysql.user WHERE User = ?`, account)
	if err != nil {
		return nil, err
	}
	var found []row
	for _, c := range cells {
		r := row{user: c[0], host: c[1], locked: c[4] == "Y", methods: []method{{plugin: c[2], stored: c[3]}}}
		if c[5] != "" {
			r.methods = append(r.methods, method{plugin: c[2], stored: c[5]})
		}
		found = append(found, r)
	}
	return found, nil
}
