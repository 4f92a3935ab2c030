package client

import (
	"crypto/rand"
	"fmt"
	"os"
	"sync"
)

// Headers by which a client declares itself; see Config.
const (
	instanceHeader = "X-Keywright-Instance"
	regionHeader   = "X-Keywright-Region"
)

// maxHostBytes leaves room for the rest of an instance's name within the 256 bytes that the server takes.
const maxHostBytes = 200

// ProcessInstance names this process for Config.Instance: the machine's name, the process id and a random part, because containers often
// share the first two. It is the same for as long as the process lives.
var ProcessInstance = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d-%s", host[:min(len(host), maxHostBytes)], os.Getpid(), rand.Text()[:8])
})

// declared returns the client itself when it has an instance, else one that declares this process.
func (c *Client) declared() *Client {
	if c.instance != "" {
		return c
	}
	other := *c
	other.instance = ProcessInstance()
	return &other
}
