package clients_test

import (
	"net"
	"os"
	"strings"
)

// metadataAddress is where virtual machines find their identity; inside, it is an address of the loopback interface.
const metadataAddress = "169.254.169.254"

// cloud is how clients reach the server: names, address and what they have to be told.
type cloud struct {
	suffix, listen    string
	login, arm, graph string
	vaults            []string
	// public says that the names are the public cloud's, so that clients need not be told any.
	public bool
}

var (
	named = cloud{suffix: "vault.keywright.localhost", listen: "127.0.0.1:8443", login: "login.keywright.localhost",
		arm: "arm.keywright.localhost", graph: "graph.keywright.localhost", vaults: vaultNames}
	public = cloud{suffix: "vault.azure.net", listen: "127.0.0.1:443", login: "login.microsoftonline.com",
		arm: "management.azure.com", graph: "graph.microsoft.com", vaults: vaultNames, public: true}
)

// vaultNames are the vaults that tests use: demo is there from the start, the others are made by az.
var vaultNames = []string{"demo", "by-az", "by-policy", "to-delete"}

// hosts is the hosts file of the namespace.
func (c cloud) hosts() string {
	names := []string{"localhost", c.login, c.arm, c.graph}
	for _, v := range c.vaults {
		names = append(names, v+"."+c.suffix)
	}
	return "127.0.0.1 " + strings.Join(names, " ") + "\n"
}

// port is ":8443", or empty where clients leave it out.
func (c cloud) port() string {
	_, port, err := net.SplitHostPort(c.listen)
	if err != nil || port == "443" {
		return ""
	}
	return ":" + port
}

func (c cloud) vaultURL(name string) string { return "https://" + name + "." + c.suffix + c.port() }

// setenv puts variables into this process's own environment, for the SDK that runs in it. The process serves one test.
func setenv(vars map[string]string) error {
	os.Clearenv()
	for name, value := range vars {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}
