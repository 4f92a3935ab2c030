package postgres

import (
	"regexp"
	"strconv"
	"strings"
)

// translate writes a statement of package relational as PostgreSQL wants it: parameters are $1, $2, …, and a join keeps no order.
func translate(query string) string {
	query = strings.ReplaceAll(query, " CROSS JOIN ", " JOIN ")
	var b strings.Builder
	next := 1
	for {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		digits := 0
		for digits < len(after) && after[digits] >= '0' && after[digits] <= '9' {
			digits++
		}
		b.WriteByte('$')
		if digits > 0 {
			b.WriteString(after[:digits])
		} else {
			b.WriteString(strconv.Itoa(next))
			next++
		}
		query = after[digits:]
	}
}

var types = regexp.MustCompile(`\b(TEXT|INTEGER|BLOB)\b`)

// step writes a step of the schema with PostgreSQL's types. Text is compared byte by byte, whatever the database's locale.
func step(script string) string {
	return types.ReplaceAllStringFunc(script, func(t string) string {
		switch t {
		case "TEXT":
			return `TEXT COLLATE "C"`
		case "INTEGER":
			return "BIGINT"
		}
		return "BYTEA"
	})
}
