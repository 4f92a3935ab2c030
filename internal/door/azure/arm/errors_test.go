package arm

import (
	"testing"

	"github.com/keywright/keywright/internal/fault"
)

func TestEveryKindIsInTheTable(t *testing.T) {
	for _, k := range fault.Kinds() {
		if w, ok := wireErrors[k]; !ok || w.status < 400 || w.code == "" {
			t.Errorf("%s is answered with %+v", k, w)
		}
	}
}

func TestVersions(t *testing.T) {
	for v, ok := range map[string]bool{"2022-07-01": true, "2018-01-01-preview": true, "2020-04-01-preview": true, "2024-12-01-preview.1": true, "": false, "1.6": false,
		"2022-13-01": false, "2022-07-01-beta": false, "2022-07-01-preview\r\nx": false} {
		if err := checkVersion(v); (err == nil) != ok {
			t.Errorf("%q: %v", v, err)
		}
	}
}
