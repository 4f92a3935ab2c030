package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// hostsPath is the machine's own table of names (hosts(5)).
const hostsPath = "/etc/hosts"

// hostsFile keeps a marked block of names in the hosts file. Names below localhost are not resolved by every client: a line
// for each is what they all understand.
type hostsFile struct {
	path, begin, end string

	mu    sync.Mutex
	names []string
}

// newHostsFile marks its block with the directory of the server, so that two servers do not remove each other's.
func newHostsFile(path, owner string) *hostsFile {
	return &hostsFile{path: path, begin: "# keywright begin " + owner, end: "# keywright end " + owner}
}

// lines are the lines for the names at an address.
func hostLines(address string, names []string) []string {
	var lines []string
	for _, n := range names {
		lines = append(lines, address+" "+n)
	}
	return lines
}

// set writes the block with a line for each name, or removes it when there are none.
func (h *hostsFile) set(address string, names []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Equal(names, h.names) {
		return nil
	}
	content, err := os.ReadFile(h.path)
	if err != nil {
		return fmt.Errorf("reading the hosts file: %w", err)
	}
	block := hostLines(address, names)
	if len(block) > 0 {
		block = slices.Concat([]string{h.begin}, block, []string{h.end})
	}
	if err := overwrite(h.path, h.replace(content, block)); err != nil {
		return fmt.Errorf("writing the hosts file: %w; start without --hosts and add the printed lines yourself", err)
	}
	h.names = names
	return nil
}

// replace returns the content with the marked block replaced, or with block at its end.
func (h *hostsFile) replace(content []byte, block []string) []byte {
	var out []string
	inside := false
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == h.begin:
			inside = true
		case line == h.end && inside:
			inside = false
		case !inside:
			out = append(out, line)
		}
	}
	out = append(out, block...)
	return []byte(strings.Join(out, "\n") + "\n")
}

// overwrite writes in place: the hosts file is often a mount of its own, which cannot be renamed over.
func overwrite(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader(content))
	if err == nil {
		err = f.Truncate(int64(len(content)))
	}
	return errors.Join(err, f.Sync(), f.Close())
}
