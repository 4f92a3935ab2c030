package export

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keywright/keywright/internal/audit"
)

const (
	product = "Keywright"
	vendor  = "Keywright"
	// cefVersion is the version of this mapping, in the place of the device's version.
	cefVersion = "1"
)

// pair is a name and a value of a line.
type pair struct{ name, value string }

// AppendCEF appends the record as one line of ArcSight's Common Event Format, version 0, without a line feed.
func AppendCEF(dst []byte, r *audit.Record) []byte {
	dst = append(dst, "CEF:0|"+vendor+"|"+product+"|"+cefVersion+"|"...)
	dst = append(appendCEFHeader(dst, operation(r)), '|')
	dst = append(appendCEFHeader(dst, operation(r)+" "+r.Outcome.String()), '|')
	dst = strconv.AppendInt(dst, int64(severity(r)), 10)
	dst = append(dst, '|')
	pairs := [...]pair{
		{"rt", strconv.FormatInt(r.Time.UnixMilli(), 10)},
		{"externalId", r.ID.String()},
		{"outcome", r.Outcome.String()},
		{"reason", r.Reason},
		{"src", single(r)},
		{"suid", r.Caller.PrincipalID},
		{"suser", r.Caller.UPN},
		{"request", r.Path},
		{"requestClientApplication", r.UserAgent},
		{"dvchost", r.Node},
		{"cnt", number(counted(r))},
		{"cs1Label", "vault"}, {"cs1", r.VaultName},
		{"cs2Label", "object"}, {"cs2", strings.TrimPrefix(objectURI(r), "/")},
		{"cs3Label", "correlationId"}, {"cs3", r.CorrelationID},
		{"cs4Label", "tenant"}, {"cs4", r.Tenant},
		{"cs5Label", "application"}, {"cs5", r.Caller.AppID},
		{"cs6Label", "network"}, {"cs6", network(r)},
		{"act", r.Action},
		{"flexString1Label", "scope"}, {"flexString1", r.Scope},
		{"flexString2Label", "detail"}, {"flexString2", r.Detail},
		{"cn1Label", "status"}, {"cn1", number(uint64(r.Status))},
	}
	start := len(dst)
	for i, p := range pairs {
		label := strings.HasSuffix(p.name, "Label")
		if p.value == "" || label && pairs[i+1].value == "" {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		dst = appendCEFValue(append(append(dst, p.name...), '='), p.value)
	}
	return dst
}

// severity is CEF's scale of 0 to 10.
func severity(r *audit.Record) int {
	switch r.Outcome {
	case audit.Denied:
		return 6
	case audit.Failed:
		return 4
	case audit.Unknown:
		return 5 // somebody has to look
	}
	return 1
}

func number(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// single is the caller's address when it is one.
func single(r *audit.Record) string {
	if r.ClientBits > 0 {
		return ""
	}
	return address(r)
}

func network(r *audit.Record) string {
	if r.ClientBits == 0 {
		return ""
	}
	return address(r)
}

// appendCEFHeader escapes a header field: backslash and pipe; line breaks cannot be escaped there and become spaces.
func appendCEFHeader(dst []byte, s string) []byte {
	for _, c := range s {
		switch {
		case c == '\\' || c == '|':
			dst = append(dst, '\\', byte(c))
		case control(c):
			dst = append(dst, ' ')
		default:
			dst = utf8.AppendRune(dst, c)
		}
	}
	return dst
}

// appendCEFValue escapes an extension's value: backslash, equals sign and line breaks.
func appendCEFValue(dst []byte, s string) []byte {
	for _, c := range s {
		switch {
		case c == '\\' || c == '=':
			dst = append(dst, '\\', byte(c))
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case control(c):
			dst = append(dst, ' ')
		default:
			dst = utf8.AppendRune(dst, c)
		}
	}
	return dst
}

// control reports characters that end a line or that terminals obey: C0, DEL, C1, and Unicode's line separators.
func control(c rune) bool {
	return c < 0x20 || c >= 0x7f && c < 0xa0 || c == '\u2028' || c == '\u2029'
}

// The parts of a syslog priority, RFC 5424 section 6.2.1: facility 13 is the log audit.
const (
	facilityAudit   = 13
	syslogWarning   = 4
	syslogNotice    = 5
	syslogInfo      = 6
	syslogTimestamp = "2006-01-02T15:04:05.000000Z"
	// syslogData names our structured data, with the enterprise number that RFC 5612 reserves for examples.
	syslogData = "keywright@32473"
)

// AppendRFC5424 appends the record as one RFC 5424 syslog message, without framing. The byte order mark before the text
// says that it is UTF-8 (section 6.4).
func AppendRFC5424(dst []byte, r *audit.Record) []byte {
	level := syslogInfo
	switch r.Outcome {
	case audit.Denied, audit.Unknown:
		level = syslogWarning
	case audit.Failed:
		level = syslogNotice
	}
	dst = append(dst, '<')
	dst = strconv.AppendInt(dst, int64(facilityAudit*8+level), 10)
	dst = append(dst, ">1 "...)
	dst = r.Time.UTC().AppendFormat(dst, syslogTimestamp)
	dst = append(appendWord(append(dst, ' '), r.Node, 255), " keywright - "...)
	dst = appendWord(dst, operation(r), 32)
	dst = append(dst, " ["+syslogData...)
	for _, p := range [...]pair{
		{"id", r.ID.String()}, {"tenant", r.Tenant}, {"vault", r.VaultName}, {"door", r.Door}, {"action", r.Action}, {"operation", r.Operation}, {"scope", r.Scope},
		{"outcome", r.Outcome.String()}, {"reason", r.Reason}, {"detail", r.Detail}, {"status", number(uint64(r.Status))},
		{"principal", r.Caller.PrincipalID}, {"app", r.Caller.AppID}, {"upn", r.Caller.UPN}, {"address", address(r)},
		{"instance", r.Instance}, {"object", strings.TrimPrefix(objectURI(r), "/")}, {"correlationId", r.CorrelationID},
		{"userAgent", r.UserAgent}, {"path", r.Path}, {"durationUs", number(uint64(r.Duration / time.Microsecond))},
		{"count", number(counted(r))},
	} {
		if p.value != "" {
			dst = append(append(append(dst, ' '), p.name...), `="`...)
			dst = append(appendParam(dst, p.value), '"')
		}
	}
	dst = append(dst, "] \ufeff"...)
	dst = appendText(dst, operation(r))
	return append(append(dst, ' '), r.Outcome.String()...)
}

// appendWord appends a header field: printable ASCII without spaces, or a dash (section 6).
func appendWord(dst []byte, s string, limit int) []byte {
	start := len(dst)
	for i := 0; i < len(s) && len(dst)-start < limit; i++ {
		if c := s[i]; c > 0x20 && c < 0x7f {
			dst = append(dst, c)
		} else {
			dst = append(dst, '_')
		}
	}
	if len(dst) == start {
		return append(dst, '-')
	}
	return dst
}

// appendParam escapes a parameter's value: quotation mark, backslash and closing bracket (section 6.3.3). Line breaks
// are legal there, but receivers that split lines would take them for a new message.
func appendParam(dst []byte, s string) []byte {
	for _, c := range s {
		switch {
		case c == '"' || c == '\\' || c == ']':
			dst = append(dst, '\\', byte(c))
		case control(c):
			dst = append(dst, ' ')
		default:
			dst = utf8.AppendRune(dst, c)
		}
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	for _, c := range s {
		if control(c) {
			c = ' '
		}
		dst = utf8.AppendRune(dst, c)
	}
	return dst
}
