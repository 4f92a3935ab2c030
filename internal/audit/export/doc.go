// Package export writes audit records as other systems read them: Azure's AuditEvent log, OCSF, CEF and RFC 5424
// syslog.
//
// Records carry what callers chose freely (user agents, paths, names), so every format escapes: no record can forge a
// second one, a field, or a line. Bytes that are not UTF-8 become U+FFFD. The package does no I/O beyond the writer that
// it is given.
package export
