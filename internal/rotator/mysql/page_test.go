package mysql_test

import (
	"testing"

	"github.com/keywright/keywright/internal/rotator/mysql"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

func TestPage(t *testing.T) { rotatortest.Page(t, mysql.New(), "mysql.md", 1) }
