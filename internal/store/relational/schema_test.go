package relational

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	newTable  = regexp.MustCompile(`^CREATE TABLE (\w+) \(`)
	newIndex  = regexp.MustCompile(`^CREATE (UNIQUE )?INDEX \w+ ON (\w+) `)
	newColumn = regexp.MustCompile(`^ALTER TABLE \w+ ADD COLUMN \w+ (TEXT|INTEGER|BLOB)( NOT NULL DEFAULT \S+)?$`)
	comment   = regexp.MustCompile(`(?m)^\s*--.*$`)
)

// additive says what is wrong with a step: a release that does not know it must be able to go on with the database.
func additive(step string) (problems []string) {
	var made []string
	for statement := range strings.SplitSeq(comment.ReplaceAllString(step, ""), ";") {
		statement = strings.Join(strings.Fields(statement), " ")
		table, index := newTable.FindStringSubmatch(statement), newIndex.FindStringSubmatch(statement)
		switch {
		case statement == "":
		case table != nil:
			made = append(made, table[1])
		case index != nil && (index[1] == "" || slices.Contains(made, index[2])):
		case index != nil:
			problems = append(problems, "refuses rows that an older release may write: "+statement)
		case newColumn.MatchString(statement):
		default:
			problems = append(problems, "does more than add a table, an index, or a column that has a default: "+statement)
		}
	}
	return problems
}

func TestStepsOnlyAdd(t *testing.T) {
	if len(Steps) < 10 {
		t.Fatalf("there are %d steps: the test looks in the wrong place", len(Steps))
	}
	for i, step := range Steps[1:] { // the first one fills what it makes
		for _, p := range additive(step) {
			t.Errorf("step %d %s", i+2, p)
		}
	}
	for bad, why := range map[string]string{
		"DROP TABLE a": "drops", "ALTER TABLE a RENAME TO b": "renames", "ALTER TABLE a RENAME COLUMN b TO c": "renames a column", "ALTER TABLE a DROP COLUMN b": "drops a column",
		"ALTER TABLE a ADD COLUMN b TEXT NOT NULL": "adds a column that older releases do not fill", "CREATE UNIQUE INDEX i ON a (b)": "refuses what older releases may write",
		"UPDATE a SET b = 1": "changes rows, which older releases would not go on doing", "DELETE FROM a": "deletes", "ALTER TABLE a ALTER COLUMN b SET NOT NULL": "tightens",
		"CREATE TABLE t (id TEXT); CREATE UNIQUE INDEX i ON t (id); DROP INDEX j": "drops an index",
	} {
		if len(additive(bad)) == 0 {
			t.Errorf("%s (%s) passes for a step that only adds", bad, why)
		}
	}
}
