package mysql

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// rights are what an account may do, its roles included, whether they are active or not.
type rights struct {
	// global are the privileges on *.*, in capitals.
	global map[string]bool
	// other are grants that make an administrator though they are not on *.*.
	other map[string]bool
}

// harmless are the global privileges of ordinary accounts: they read, watch, replicate and back up. All others, dynamic ones too, make an
// administrator, because they lead to mysql.* or to the accounts of others.
var harmless = map[string]bool{"USAGE": true, "SELECT": true, "PROCESS": true, "SHOW DATABASES": true, "SHOW VIEW": true, "LOCK TABLES": true,
	"CREATE TEMPORARY TABLES": true, "RELOAD": true, "REPLICATION CLIENT": true, "REPLICATION SLAVE": true, "BINLOG MONITOR": true,
	"SLAVE MONITOR": true, "REPLICA MONITOR": true, "FLUSH_TABLES": true, "FLUSH_STATUS": true, "BACKUP_ADMIN": true, "SHOW_ROUTINE": true}

func (r rights) has(privilege string) bool { return r.global[privilege] || r.global["ALL PRIVILEGES"] }

// administrative names the rights that make an administrator, or nothing.
func (r rights) administrative() string {
	high := maps.Clone(r.other)
	for p := range r.global {
		if !harmless[p] {
			high[p] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(high)), ", ")
}

// rights collects what a row and all roles that it has may do.
func (s *session) rights(ctx context.Context, r row) (rights, error) {
	all := rights{global: map[string]bool{}, other: map[string]bool{}}
	seen := map[string]bool{}
	for queue := []row{r}; len(queue) > 0; queue = queue[1:] {
		one := queue[0]
		if seen[one.sql()] {
			continue
		}
		seen[one.sql()] = true
		lines, err := s.grants(ctx, one)
		if err != nil {
			return all, err
		}
		for _, line := range lines {
			all.add(line)
		}
		roles, err := s.rolesOf(ctx, one)
		if err != nil {
			return all, err
		}
		queue = append(queue, roles...)
	}
	return all, nil
}

func (s *session) grants(ctx context.Context, r row) ([]string, error) {
	who := r.sql()
	if s.server.mariadb && r.host == "" {
		who = quoteName(r.user) // a role
	}
	cells, err := s.query(ctx, "SHOW GRANTS FOR "+who)
	if err != nil {
		return nil, err
	}
	lines := make([]string, len(cells))
	for i, c := range cells {
		lines[i] = c[0]
	}
	return lines, nil
}

func (s *session) rolesOf(ctx context.Context, r row) (roles []row, err error) {
	query := "SELECT FROM_USER, FROM_HOST FROM mysql.role_edges WHERE TO_USER = ? AND TO_HOST = ?"
	if s.server.mariadb {
		query = "SELECT Role, '' FROM mysql.roles_mapping WHERE User = ? AND Host = ?"
	}
	cells, err := s.query(ctx, query, r.user, r.host)
	for _, c := range cells {
		roles = append(roles, row{user: c[0], host: c[1]})
	}
	return roles, err
}

var (
	columnLists = regexp.MustCompile(`\([^)]*\)`)
	schemaName  = regexp.MustCompile("^(?:PROCEDURE |FUNCTION |PACKAGE |PACKAGE BODY |TABLE )?`((?:[^`]|``)*)`\\.")
)

// add reads a line of SHOW GRANTS. In doubt it adds a right too many: then an account is refused, and nothing breaks.
func (r rights) add(line string) {
	rest, isGrant := strings.CutPrefix(line, "GRANT ")
	what, object, hasObject := strings.Cut(rest, " ON ")
	if !isGrant || !hasObject {
		return // a role, or the default role
	}
	var privileges []string
	for _, p := range strings.Split(columnLists.ReplaceAllString(what, ""), ",") {
		privileges = append(privileges, strings.TrimSpace(p))
	}
	switch {
	case strings.HasPrefix(object, "*.* "):
		for _, p := range privileges {
			r.global[p] = true
		}
		if strings.Contains(object, " WITH GRANT OPTION") {
			r.global["GRANT OPTION"] = true
		}
	case what == "PROXY":
		r.other["PROXY"] = true
	default:
		m := schemaName.FindStringSubmatch(object)
		reads := !slices.ContainsFunc(privileges, func(p string) bool { return p != "SELECT" && p != "SHOW VIEW" && p != "EXECUTE" && p != "USAGE" })
		if m != nil && covers(m[1], "mysql") && !reads {
			r.other["changing the database mysql"] = true
		}
	}
}

// covers matches the name of a schema against a pattern of a grant: % and _ are wild unless a backslash stands before them.
func covers(pattern, name string) bool {
	var expression strings.Builder
	escaped := false
	for _, c := range pattern {
		switch {
		case !escaped && c == '\\':
			escaped = true
			continue
		case !escaped && c == '%':
			expression.WriteString(".*")
		case !escaped && c == '_':
			expression.WriteString(".")
		default:
			expression.WriteString(regexp.QuoteMeta(string(c)))
		}
		escaped = false
	}
	matched, err := regexp.MatchString("(?is)^"+expression.String()+"$", name)
	return matched || err != nil
}

// credentialColumns are those of mysql.user that differ between equal accounts.
var credentialColumns = []string{"Host", "User", "Password", "plugin", "authentication_string", "password_last_changed", "account_locked",
	"User_attributes", "password_expired"}

var identifiedBy = regexp.MustCompile(` IDENTIFIED (?:BY|VIA|WITH) .*?( REQUIRE | WITH |$)`)

// profile describes a row apart from its name and credential: two accounts with equal rights have equal profiles.
func (s *session) profile(ctx context.Context, r row) ([]string, error) {
	lines, err := s.grants(ctx, r)
	if err != nil {
		return nil, err
	}
	for i, line := range lines {
		lines[i] = identifiedBy.ReplaceAllString(strings.ReplaceAll(line, r.sql(), "?"), "$1")
	}
	columns, err := s.columns(ctx, "SELECT * FROM mysql.user WHERE User = ? AND Host = ?", r.user, r.host)
	if err != nil {
		return nil, err
	}
	for _, c := range credentialColumns {
		delete(columns, c)
	}
	for c, value := range columns {
		lines = append(lines, c+" = "+value)
	}
	if !s.server.mariadb {
		more, err := s.query(ctx, `SELECT CONCAT('restrictions = ', COALESCE(JSON_EXTRACT(User_attributes, '$.Restrictions'), '')) FROM mysql.user WHERE User = ? AND Host = ?
			UNION ALL SELECT CONCAT('default role = ', DEFAULT_ROLE_USER, '@', DEFAULT_ROLE_HOST) FROM mysql.default_roles WHERE USER = ? AND HOST = ?`,
			r.user, r.host, r.user, r.host)
		if err != nil {
			return nil, err
		}
		for _, m := range more {
			lines = append(lines, m[0])
		}
	}
	slices.Sort(lines)
	return lines, nil
}
