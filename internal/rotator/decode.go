package rotator

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/keywright/keywright/internal/fault"
)

// Decode reads a target's configuration into the rotator's own type and refuses members that it does not know: a misspelled one must not
// count as absent.
func Decode(name string, config json.RawMessage, into any) error {
	if len(bytes.TrimSpace(config)) == 0 {
		config = json.RawMessage("{}")
	}
	d := json.NewDecoder(bytes.NewReader(config))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			return fault.New(fault.Invalid, "the configuration of the %s target has more after its end: give one JSON object", name)
		}
		return nil
	}
	return fault.Wrap(err, fault.Invalid, "the configuration of the %s target is not valid JSON for it (%s): see the members in its documentation", name, err.Error())
}
