package node

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// IDFile is the file of a node's directory that holds its id. It is no secret.
const IDFile = "node.id"

// idBytes is how long an id is: long enough that no two directories draw the same.
const idBytes = 8

// Identify returns the id of the node whose files are in the directory. The first time it is the one by which the node was known before,
// or a fresh one when that is empty; from then on it stays in the directory.
func Identify(dir, before string) (string, error) {
	path := filepath.Join(dir, IDFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newID(path, before)
	}
	if err != nil {
		return "", fmt.Errorf("reading the node's id: %w", err)
	}
	id := strings.TrimSpace(string(text))
	if err := checkID(id); err != nil {
		return "", fmt.Errorf("the file %s holds no id of a node (%w): restore the file from the name of the node in its audit log, which audit.pub begins with", path, err)
	}
	return id, nil
}

func newID(path, id string) (string, error) {
	if id == "" {
		var b [idBytes]byte
		rand.Read(b[:])
		id = hex.EncodeToString(b[:])
	}
	if err := checkID(id); err != nil {
		return "", fmt.Errorf("the id %q, by which the node was known: %w", id, err)
	}
	if err := writeFile(path, id+"\n"); err != nil {
		return "", fmt.Errorf("writing the node's id: %w", err)
	}
	return id, nil
}

func checkID(id string) error {
	if b, err := hex.DecodeString(id); err != nil || len(b) != idBytes || strings.ToLower(id) != id {
		return errors.New("it is not 16 lower-case hexadecimal digits")
	}
	return nil
}

// writeFile makes the file appear whole or not at all, power loss included.
func writeFile(path, text string) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+IDFile+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	_, err = tmp.WriteString(text)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
