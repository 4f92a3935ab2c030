package identity

import "maps"

// CLIClientID is the client id of the product's own command line.
const CLIClientID = "6b7a0f3e-4c55-4c0d-9a52-2f0e6c1b7d11"

var wellKnownClients = map[string]string{
	CLIClientID: "Keywright CLI",
	// The programs by which people sign in to Azure, and whose ids the client libraries use when they are told none:
	// learn.microsoft.com/troubleshoot/entra/entra-id/governance/verify-first-party-apps-sign-in
	"04b07795-8ddb-461a-bbee-02f9e1bf7b46": "Microsoft Azure CLI",
	"1950a258-227b-4e31-a9cf-717495945fc2": "Microsoft Azure PowerShell",
	"aebc6443-996d-45c2-90f0-388ff96faa56": "Visual Studio Code",
}

// WellKnownClients returns the programs that people may sign in with unless Config.PublicClients says otherwise: client ids
// and the names that the sign-in page shows.
func WellKnownClients() map[string]string { return maps.Clone(wellKnownClients) }
