package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// envFile is the file by which a development server tells clients everything they need. Its lines are KEY=VALUE, in an
// order that is kept; no value needs quotes.
const envFile = "dev.env"

// takeEnv reads the variables that an earlier start left and removes the file: as long as it is missing, no server is
// ready.
func takeEnv(path string) (map[string]string, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	vars := make(map[string]string)
	for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			vars[name] = value
		}
	}
	return vars, os.Remove(path)
}

type variable struct{ name, value string }

// writeEnv writes the variables for this user alone, whole or not at all.
func writeEnv(path string, vars []variable) error {
	var b strings.Builder
	for _, v := range vars {
		if strings.ContainsAny(v.value, " \t\r\n'\"\\$`#;&|<>()*?!{}") || strings.HasPrefix(v.value, "~") {
			return fmt.Errorf("the value of %s would need quotes in %s: choose a directory without special characters in its name", v.name, path)
		}
		b.WriteString(v.name + "=" + v.value + "\n")
	}
	return writeFile(path, []byte(b.String()), 0o600)
}
