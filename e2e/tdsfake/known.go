package tdsfake

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// known answers queries of catalog views, word by word: this fake has no views, and a query that means the same in other words is beyond it. It
// reports false for any other text. Every column is a text; drivers convert.
func (s *session) known(ctx context.Context, r *reply, text string, parameters map[string]any) (bool, error) {
	if s.server.trace != nil {
		s.server.mu.Lock()
		fmt.Fprintln(s.server.trace, text)
		s.server.mu.Unlock()
	}
	words := strings.Fields(text)
	if len(words) == 2 && strings.EqualFold(words[0], "KILL") {
		return true, s.kill(words[1])
	}
	answer := queries[strings.Join(words, " ")]
	if answer == nil {
		return false, nil
	}
	argument, _ := parameters["@p1"].(string)
	return true, answer(ctx, s, r, argument, parameters)
}

type answerer func(ctx context.Context, s *session, r *reply, argument string, parameters map[string]any) error

// queries are the texts, with single spaces. Their argument is @p1.
var queries = map[string]answerer{
	// What the server is, and what time it has.
	"SELECT CONVERT(nvarchar(128), SERVERPROPERTY('ProductVersion')), CONVERT(nvarchar(128), SERVERPROPERTY('ServerName')), CONVERT(nvarchar(40), SYSUTCDATETIME(), 126)": func(_ context.Context, _ *session, r *reply, _ string, _ map[string]any) error {
		r.table([]string{"", "", ""}, [][]string{{productName, serverName, time.Now().UTC().Format("2006-01-02T15:04:05.999999")}})
		return nil
	},
	// Who the session is.
	"SELECT ORIGINAL_LOGIN(), CONVERT(nvarchar(200), SUSER_SID(ORIGINAL_LOGIN()), 1)": func(_ context.Context, s *session, r *reply, _ string, _ map[string]any) error {
		a, _ := s.server.logins.get(s.login)
		r.table([]string{"", ""}, [][]string{{s.login, binaryText(a.sid)}})
		return nil
	},
	// What the session may do.
	"SELECT CONVERT(nvarchar(9), HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY LOGIN')), CONVERT(nvarchar(9), HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE')), CONVERT(nvarchar(9), HAS_PERMS_BY_NAME(NULL, NULL, 'CONTROL SERVER'))": func(_ context.Context, s *session, r *reply, _ string, _ map[string]any) error {
		a, _ := s.server.logins.get(s.login)
		bit := "0"
		if a.admin {
			bit = "1"
		}
		r.table([]string{"", "", ""}, [][]string{{bit, bit, bit}})
		return nil
	},
	// A login, as an administrator or the login itself sees it.
	"SELECT CONVERT(nvarchar(200), sid, 1), CONVERT(nvarchar(9), is_disabled), CONVERT(nvarchar(9), LOGINPROPERTY(name, 'IsLocked')), CONVERT(nvarchar(9), LOGINPROPERTY(name, 'IsMustChange')), CONVERT(nvarchar(9), IS_SRVROLEMEMBER('sysadmin', name)) FROM sys.sql_logins WHERE name = @p1": func(_ context.Context, s *session, r *reply, name string, _ map[string]any) error {
		me, _ := s.server.logins.get(s.login)
		a, known := s.server.logins.get(name)
		var rows [][]string
		if known && (me.admin || name == s.login) {
			rows = [][]string{{binaryText(a.sid), bit(a.disabled), bit(a.locked), "0", bit(a.admin)}}
		}
		r.table([]string{"", "", "", "", ""}, rows)
		return nil
	},
	// What a login may do.
	strings.Join(strings.Fields(`SELECT 'role ' + r.name FROM sys.server_role_members m JOIN sys.server_principals r ON r.principal_id = m.role_principal_id
		WHERE m.member_principal_id = SUSER_ID(@p1)
		UNION ALL SELECT state_desc + ' ' + permission_name + ' ' + class_desc + ' ' + CONVERT(nvarchar(20), major_id) FROM sys.server_permissions WHERE grantee_principal_id = SUSER_ID(@p1)
		UNION ALL SELECT 'database role ' + r.name FROM sys.database_role_members m JOIN sys.database_principals r ON r.principal_id = m.role_principal_id
		JOIN sys.database_principals u ON u.principal_id = m.member_principal_id WHERE u.sid = SUSER_SID(@p1)
		UNION ALL SELECT 'database ' + p.state_desc + ' ' + p.permission_name + ' ' + p.class_desc + ' ' + CONVERT(nvarchar(20), p.major_id) + ' ' + CONVERT(nvarchar(20), p.minor_id)
		FROM sys.database_permissions p JOIN sys.database_principals u ON u.principal_id = p.grantee_principal_id WHERE u.sid = SUSER_SID(@p1)
		UNION ALL SELECT 'default ' + ISNULL(default_database_name, '') + ' ' + ISNULL(default_language_name, '') FROM sys.server_principals WHERE name = @p1
		ORDER BY 1`), " "): func(_ context.Context, s *session, r *reply, name string, _ map[string]any) error {
		a, _ := s.server.logins.get(name)
		roles := slices.Sorted(slices.Values(a.roles))
		var rows [][]string
		for _, role := range roles {
			rows = append(rows, []string{"role " + role})
		}
		r.table([]string{""}, rows)
		return nil
	},
	// The sessions of a login.
	strings.Join(strings.Fields(`SELECT CONVERT(nvarchar(9), s.session_id), CONVERT(nvarchar(40), DATEDIFF(second, s.login_time, GETDATE())), ISNULL(s.program_name, ''), ISNULL(c.client_net_address, '')
		FROM sys.dm_exec_sessions s OUTER APPLY (SELECT TOP 1 client_net_address FROM sys.dm_exec_connections WHERE session_id = s.session_id) c
		WHERE s.original_login_name = @p1 AND s.is_user_process = 1 ORDER BY s.session_id`), " "): func(_ context.Context, s *session, r *reply, name string, _ map[string]any) error {
		me, _ := s.server.logins.get(s.login)
		if !me.admin {
			return errServerState()
		}
		var rows [][]string
		s.server.mu.Lock()
		for one := range s.server.sessions {
			if one.login == name {
				rows = append(rows, []string{strconv.FormatInt(one.id, 10), strconv.Itoa(int(time.Since(one.since).Seconds())), one.app, one.conn.RemoteAddr().String()})
			}
		}
		s.server.mu.Unlock()
		slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
		r.table([]string{"", "", "", ""}, rows)
		return nil
	},
	// A lock that the session keeps until it ends.
	"DECLARE @r int; EXEC @r = sp_getapplock @Resource = @p1, @LockMode = 'Exclusive', @LockOwner = 'Session', @LockTimeout = @p2; SELECT CONVERT(nvarchar(9), @r)": func(ctx context.Context, s *session, r *reply, resource string, parameters map[string]any) error {
		wait, _ := parameters["@p2"].(int64)
		got := "0"
		if !s.server.lock(ctx, s, resource, time.Duration(wait)*time.Millisecond) {
			got = "-1"
		}
		r.table([]string{""}, [][]string{{got}})
		return nil
	},
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func binaryText(b []byte) string { return "0x" + strings.ToUpper(hex.EncodeToString(b)) }

// lock waits for a lock of sp_getapplock.
func (s *Server) lock(ctx context.Context, session *session, resource string, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		s.mu.Lock()
		owner, held := s.locks[resource]
		if !held || owner == session {
			s.locks[resource] = session
			s.mu.Unlock()
			return true
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// kill ends another session.
func (s *session) kill(id string) error {
	me, _ := s.server.logins.get(s.login)
	if !me.admin {
		return &sqlError{6102, 1, 14, "User does not have permission to use the KILL statement."}
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	for one := range s.server.sessions {
		if one != s && one.login != "" && strconv.FormatInt(one.id, 10) == id {
			return one.conn.Close()
		}
	}
	return &sqlError{6106, 2, 16, "Process ID " + clip(id) + " is not an active process ID."}
}
