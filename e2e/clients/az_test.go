package clients_test

import (
	"bytes"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

func TestAz(t *testing.T)            { testAz(t, named) }
func TestAzPublicNames(t *testing.T) { testAz(t, public) }

func testAz(t *testing.T, c cloud) {
	if _, err := exec.LookPath("az"); err != nil {
		missing(t, "az is not installed (as root: apt-get install --no-install-recommends azure-cli)")
	}
	if !enter(t, c) {
		return
	}
	s := start(t, c)
	s.use(t, bySecret)
	fresh := s.azConfiguration(t)
	t.Run("sign in", func(t *testing.T) { s.azSignIns(t, fresh) })
	a := fresh.copy(t, nil)
	a.signIn(t)
	t.Run("vaults with roles", func(t *testing.T) { t.Parallel(); azRoles(t, s, a) })
	if s.public {
		// What follows does not depend on names, and az takes its time.
		return
	}
	t.Run("vaults with policies", func(t *testing.T) { t.Parallel(); azPolicies(t, s, a) })
	t.Run("deleted vaults", func(t *testing.T) { t.Parallel(); azDeleted(t, s, a) })
	t.Run("groups", func(t *testing.T) { t.Parallel(); azGroups(t, a) })
}

// az runs the command line with a configuration of its own.
type az struct {
	env map[string]string
	// subscription is the scope of everything.
	subscription string
}

// azConfiguration makes the first configuration and, where the names are not the public cloud's, registers the server as a cloud.
// az indexes its commands at its first start, which takes seconds; copies have the index, too.
func (s *server) azConfiguration(t *testing.T) *az {
	t.Helper()
	dir := t.TempDir()
	a := &az{subscription: "/subscriptions/" + s.env["KEYWRIGHT_SUBSCRIPTION_ID"], env: map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": dir, configVariable: filepath.Join(dir, "az"), "AZURE_CORE_COLLECT_TELEMETRY": "false",
		"AZURE_CORE_ONLY_SHOW_ERRORS": "true", "REQUESTS_CA_BUNDLE": s.env["REQUESTS_CA_BUNDLE"], "PYTHONDONTWRITEBYTECODE": "1"}}
	if s.public {
		a.want(t, "AzureCloud", "cloud", "show", "--query", "name")
		return a
	}
	a.run(t, "cloud", "register", "-n", "keywright", "--cloud-config", "@"+filepath.Join(s.dir, "az-cloud.json"))
	a.run(t, "cloud", "set", "-n", "keywright")
	return a
}

// configVariable names az's own directory.
const configVariable = "AZURE_CONFIG_DIR"

// copy is another user of az, with further variables.
func (a *az) copy(t *testing.T, extra map[string]string) *az {
	t.Helper()
	c := &az{subscription: a.subscription, env: maps.Clone(a.env)}
	c.env[configVariable] = filepath.Join(t.TempDir(), "az")
	maps.Copy(c.env, extra)
	if err := os.CopyFS(c.env[configVariable], os.DirFS(a.env[configVariable])); err != nil {
		t.Fatal(err)
	}
	return c
}

func (a *az) command(t *testing.T, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	cmd = exec.CommandContext(t.Context(), "az", args...)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Env, cmd.Stdout, cmd.Stderr = lines(a.env), stdout, stderr
	return cmd, stdout, stderr
}

// run returns what az prints.
func (a *az) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd, stdout, stderr := a.command(t, args...)
	if err := cmd.Run(); err != nil {
		t.Fatalf("az %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return strings.TrimSpace(stdout.String())
}

// fails expects az to refuse with a message that contains text.
func (a *az) fails(t *testing.T, text string, args ...string) {
	t.Helper()
	cmd, stdout, stderr := a.command(t, args...)
	if err := cmd.Run(); err == nil || !strings.Contains(stderr.String(), text) || strings.Contains(stderr.String(), "Traceback") {
		t.Errorf("az %s: %v, want a message with %q:\n%s%s", strings.Join(args, " "), err, text, stdout, stderr)
	}
}

// want compares what az prints of a query, one value a line.
func (a *az) want(t *testing.T, want string, args ...string) {
	t.Helper()
	if got := a.run(t, append(args, "-o", "tsv")...); got != want {
		t.Errorf("az %s: got %q, want %q", strings.Join(args, " "), got, want)
	}
}

// signIn is that of the application, by its secret.
func (a *az) signIn(t *testing.T) {
	t.Helper()
	a.run(t, "login", "--service-principal", "-u", os.Getenv("AZURE_CLIENT_ID"), "-p", os.Getenv("AZURE_CLIENT_SECRET"), "--tenant", a.tenant(t))
}

func (a *az) tenant(t *testing.T) string {
	t.Helper()
	tenant := os.Getenv(tenantVariable)
	if tenant == "" {
		t.Fatal("no tenant")
	}
	return tenant
}

// vault is the Azure SDK for Go on a vault that az made.
func (s *server) vault(t *testing.T, name string) *azsecrets.Client {
	t.Helper()
	credential := must(azidentity.NewEnvironmentCredential(nil))(t)
	return must(azsecrets.NewClient(s.vaultURL(name), credential, nil))(t)
}

func setGreeting(t *testing.T, c *azsecrets.Client) error {
	_, err := c.SetSecret(t.Context(), "greeting", azsecrets.SetSecretParameters{Value: to.Ptr("hello")}, nil)
	return err
}

// uri is the address that az is told of a vault: an IP address when it called the server by one, as a cloud that was registered does, else the vault's name.
func (s *server) uri(t *testing.T, a *az, name string) string {
	t.Helper()
	if s.public {
		return s.vaultURL(name) + "/"
	}
	uri := a.run(t, "keyvault", "show", "-n", name, "--query", "properties.vaultUri", "-o", "tsv")
	if u, err := url.Parse(uri); err != nil || net.ParseIP(u.Hostname()) == nil {
		t.Errorf("the address of the vault %s is %q, which is no IP address", name, uri)
	}
	return uri
}

// azRoles makes a vault, gives roles on it by the id and by the name of their holder, and takes one back.
func azRoles(t *testing.T, s *server, a *az) {
	roles := &az{subscription: a.subscription, env: maps.Clone(a.env)}
	roles.env["PYTHONPATH"] = absolute(t, "debian-az")
	made := a.run(t, "keyvault", "create", "-n", "by-az", "-g", "dev", "-l", "local", "--enable-rbac-authorization", "true",
		"--query", "[properties.vaultUri, properties.enableRbacAuthorization, properties.provisioningState]", "-o", "tsv")
	if want := s.uri(t, a, "by-az") + "\ntrue\nSucceeded"; made != want {
		t.Errorf("making a vault: got %q, want %q", made, want)
	}
	a.fails(t, "already exist", "keyvault", "create", "-n", "by-az", "-g", "dev", "-l", "local")
	secrets := s.vault(t, "by-az")
	wantError(t, setGreeting(t, secrets), 403, "Forbidden", "ForbiddenByRbac")

	roles.want(t, "Key Vault Secrets Officer", "role", "definition", "list", "--name", "Key Vault Secrets Officer", "--query", "[].roleName")
	scope := a.run(t, "keyvault", "show", "-n", "by-az", "--query", "id", "-o", "tsv")
	app := a.run(t, "rest", "--url", s.graphURL()+"/v1.0/servicePrincipals?$filter=appId eq '"+os.Getenv("AZURE_CLIENT_ID")+"'",
		"--resource", s.graphURL()+"/", "--query", "value[0].id", "-o", "tsv")
	byID := roles.run(t, "role", "assignment", "create", "--role", "Key Vault Secrets Officer", "--scope", scope,
		"--assignee-object-id", app, "--assignee-principal-type", "ServicePrincipal", "--query", "id", "-o", "tsv")
	if err := setGreeting(t, secrets); err != nil {
		t.Error(err)
	}
	roles.want(t, "User", "role", "assignment", "create", "--role", "Key Vault Reader", "--scope", scope, "--assignee", s.upn, "--query", "principalType")
	roles.want(t, "ServicePrincipal", "role", "assignment", "create", "--role", "Key Vault Reader", "--scope", scope,
		"--assignee", s.strangerID, "--query", "principalType")
	roles.want(t, "Key Vault Reader\nKey Vault Reader\nKey Vault Secrets Officer", "role", "assignment", "list", "--scope", scope,
		"--query", "sort([].roleDefinitionName)")
	roles.want(t, s.upn, "role", "assignment", "list", "--scope", scope, "--assignee", s.upn, "--query", "[].principalName")
	roles.run(t, "role", "assignment", "delete", "--ids", byID)
	wantError(t, setGreeting(t, secrets), 403, "Forbidden", "ForbiddenByRbac")
	roles.run(t, "role", "assignment", "delete", "--assignee", s.strangerID, "--scope", scope)
	roles.want(t, "1", "role", "assignment", "list", "--scope", scope, "--query", "length(@)")
}

// azPolicies makes a vault with access policies, as az does by itself, and closes its network.
func azPolicies(t *testing.T, s *server, a *az) {
	a.want(t, "false\n1", "keyvault", "create", "-n", "by-policy", "-g", "dev", "-l", "local", "--retention-days", "7",
		"--query", "[properties.enableRbacAuthorization, length(properties.accessPolicies)]")
	secrets := s.vault(t, "by-policy")
	if err := setGreeting(t, secrets); err != nil {
		t.Error(err)
	}
	self := a.run(t, "keyvault", "show", "-n", "by-policy", "--query", "properties.accessPolicies[0].objectId", "-o", "tsv")
	a.want(t, "get\nlist", "keyvault", "set-policy", "-n", "by-policy", "--object-id", self, "--secret-permissions", "get", "list",
		"--query", "sort(properties.accessPolicies[0].permissions.secrets)")
	if _, err := secrets.GetSecret(t.Context(), "greeting", "", nil); err != nil {
		t.Error(err)
	}
	wantError(t, setGreeting(t, secrets), 403, "Forbidden", "ForbiddenByPolicy")
	a.want(t, "2", "keyvault", "set-policy", "-n", "by-policy", "--spn", s.strangerID, "--secret-permissions", "all",
		"--query", "length(properties.accessPolicies)")
	a.want(t, "1", "keyvault", "delete-policy", "-n", "by-policy", "--object-id", self, "--query", "length(properties.accessPolicies)")
	_, err := secrets.GetSecret(t.Context(), "greeting", "", nil)
	wantError(t, err, 403, "Forbidden", "ForbiddenByPolicy")
	a.want(t, "true", "keyvault", "update", "-n", "by-policy", "--enable-rbac-authorization", "true", "--query", "properties.enableRbacAuthorization")
	wantError(t, setGreeting(t, secrets), 403, "Forbidden", "ForbiddenByRbac")
	a.run(t, "keyvault", "update", "-n", "by-policy", "--enable-rbac-authorization", "false")
	a.run(t, "keyvault", "set-policy", "-n", "by-policy", "--spn", os.Getenv("AZURE_CLIENT_ID"), "--secret-permissions", "all")

	a.run(t, "keyvault", "network-rule", "add", "-n", "by-policy", "--ip-address", "10.0.0.0/8")
	a.run(t, "keyvault", "update", "-n", "by-policy", "--default-action", "Deny")
	a.want(t, "Deny\n10.0.0.0/8", "keyvault", "network-rule", "list", "-n", "by-policy", "--query", "[defaultAction, ipRules[0].value]")
	wantError(t, setGreeting(t, secrets), 403, "Forbidden", "ForbiddenByFirewall")
	a.run(t, "keyvault", "network-rule", "add", "-n", "by-policy", "--ip-address", "127.0.0.1")
	if err := setGreeting(t, secrets); err != nil {
		t.Error(err)
	}
	a.want(t, "1", "keyvault", "network-rule", "remove", "-n", "by-policy", "--ip-address", "127.0.0.1", "--query", "length(properties.networkAcls.ipRules)")
	wantError(t, setGreeting(t, secrets), 403, "Forbidden", "ForbiddenByFirewall")
}

// azDeleted deletes a vault, recovers it with what was in it, and purges it.
func azDeleted(t *testing.T, s *server, a *az) {
	a.run(t, "keyvault", "create", "-n", "to-delete", "-g", "dev", "-l", "local")
	secrets := s.vault(t, "to-delete")
	if err := setGreeting(t, secrets); err != nil {
		t.Fatal(err)
	}
	if names := a.run(t, "keyvault", "list", "-g", "dev", "--query", "[].name", "-o", "tsv"); !strings.Contains(names, "to-delete") || !strings.Contains(names, "demo") {
		t.Errorf("vaults: %q", names)
	}
	a.run(t, "keyvault", "delete", "-n", "to-delete")
	a.want(t, "to-delete", "keyvault", "list-deleted", "--resource-type", "vault", "--query", "[].name")
	a.fails(t, "to-delete", "keyvault", "show", "-n", "to-delete")
	if _, err := secrets.GetSecret(t.Context(), "greeting", "", nil); err == nil {
		t.Error("a deleted vault answers")
	}
	recovered := a.run(t, "keyvault", "recover", "-n", "to-delete", "--query", "properties.vaultUri", "-o", "tsv")
	if want := s.uri(t, a, "to-delete"); recovered != want {
		t.Errorf("recovering a vault: got %q, want %q", recovered, want)
	}
	if got, err := secrets.GetSecret(t.Context(), "greeting", "", nil); err != nil || *got.Value != "hello" {
		t.Errorf("after its recovery: %v, %v", got.Value, err)
	}
	a.run(t, "keyvault", "delete", "-n", "to-delete")
	a.run(t, "keyvault", "purge", "-n", "to-delete")
	a.want(t, "", "keyvault", "list-deleted", "--resource-type", "vault", "--query", "[].name")
}

func azGroups(t *testing.T, a *az) {
	a.want(t, "other", "group", "create", "-n", "other", "-l", "local", "--query", "name")
	a.want(t, "dev\nother", "group", "list", "--query", "sort([].name)")
	a.want(t, "true", "group", "exists", "-n", "other")
	a.run(t, "group", "delete", "-n", "other", "--yes")
	a.want(t, "false", "group", "exists", "-n", "other")
	a.want(t, a.subscription, "account", "show", "--query", "join('', ['/subscriptions/', id])")
}

// graphURL is the directory as the registered cloud, or az itself, names it.
func (s *server) graphURL() string {
	if s.public {
		return "https://" + s.graph
	}
	return "https://" + s.env["KEYWRIGHT_ADDR"]
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	return must(filepath.Abs(path))(t)
}
