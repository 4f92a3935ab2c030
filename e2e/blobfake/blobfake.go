// Package blobfake is a container of Azure Blob Storage for tests: as much of its protocol as copies of vaults need (Put Blob, Get Blob, Delete Blob), to who has
// the signature. No real counterpart can run here.
package blobfake

import (
	"io"
	"net/http"
	"sync"
)

// Signature is the shared access signature that authorises.
const Signature = "sv=2021-12-02&sig=signature"

// Container keeps blobs in memory. It implements http.Handler.
type Container struct {
	mu   sync.Mutex
	kept map[string][]byte
}

// New returns an empty container.
func New() *Container { return &Container{kept: make(map[string][]byte)} }

func (c *Container) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("sig") != "signature" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if r.Method == http.MethodPut {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.kept[r.URL.Path] = content
		w.WriteHeader(http.StatusCreated)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	content, ok := c.kept[r.URL.Path]
	switch {
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodDelete:
		delete(c.kept, r.URL.Path)
		w.WriteHeader(http.StatusAccepted)
	default:
		_, _ = w.Write(content)
	}
}
