package docs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/keywright/keywright/internal/config"
)

func readDeployed(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy", path))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// rule is one alert.
type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) (list []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(readDeployed(t, "monitoring/alerts.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	return list
}

// panel is one picture of the dashboard.
type panel struct {
	ID      int
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var d struct{ Panels []panel }
	if err := json.Unmarshal(readDeployed(t, "monitoring/dashboard.json"), &d); err != nil || len(d.Panels) < 10 {
		t.Fatalf("%d panels, %v", len(d.Panels), err)
	}
	return d.Panels
}

// TestEveryAlertHasARunbook compares the rules with the sections of the page, their expressions included.
func TestEveryAlertHasARunbook(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/operations/runbooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(page), "\n## ")[1:] {
		title, text, _ := strings.Cut(s, "\n")
		sections[title] = text
	}
	var alerts, titles []string
	for title := range sections {
		titles = append(titles, title)
	}
	for _, r := range rules(t) {
		alerts = append(alerts, r.Alert)
		if text := sections[r.Alert]; !strings.Contains(text, "`"+r.Expr+"`") || !strings.Contains(text, "\n1. ") || !strings.Contains(text, r.Annotations["summary"]) {
			t.Errorf("the runbook of %s does not say %q, or what to do", r.Alert, r.Expr)
		}
		if !strings.HasSuffix(r.Annotations["runbook_url"], "docs/operations/runbooks.md#"+strings.ToLower(r.Alert)) {
			t.Errorf("%s leads to %s", r.Alert, r.Annotations["runbook_url"])
		}
		if !slices.Contains([]string{"warning", "critical"}, r.Labels["severity"]) || r.For == "" {
			t.Errorf("%s has the severity %q and waits for %q", r.Alert, r.Labels["severity"], r.For)
		}
	}
	same(t, "docs/operations/runbooks.md", alerts, titles)
}

// TestExpressionsNameMetricsThatExist looks up what alerts and the dashboard ask for, and by which labels they choose, in the page of metrics, which another test compares
// with the code: Prometheus itself finds nothing wrong with a metric that nobody has.
func TestExpressionsNameMetricsThatExist(t *testing.T) {
	const path = "docs/operations/monitoring.md"
	p := readPage(t, path)
	rows := map[string][]string{} // the type and the labels of each metric
	p.prose(func(_ int, line string) {
		if m := regexp.MustCompile("^\\| `(keywright_[a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\|").FindStringSubmatch(line); m != nil {
			rows[m[1]] = m[2:]
		}
	})
	asked := map[string]string{}
	for _, r := range rules(t) {
		asked["the alert "+r.Alert] = r.Expr
	}
	for _, p := range panels(t) {
		for i, target := range p.Targets {
			asked[fmt.Sprintf("line %d of the panel %q", i+1, p.Title)] = target.Expr
		}
	}
	metric := regexp.MustCompile(`(keywright_[a-z_]+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	found := 0
	for who, expr := range asked {
		for _, m := range metric.FindAllStringSubmatch(expr, -1) {
			found++
			name := m[1]
			if rows[name] == nil { // one of the three series of a histogram
				name = regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			}
			cells := rows[name]
			if cells == nil || name != m[1] && cells[0] != "histogram" {
				t.Errorf("%s asks for %s, which no server has", who, m[1])
				continue
			}
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if !strings.Contains(cells[1], "`"+l[1]+"`") && !slices.Contains([]string{"le", "instance"}, l[1]) {
					t.Errorf("%s chooses %s by the label %s, which it does not have", who, name, l[1])
				}
			}
		}
	}
	if found < 28 {
		t.Fatalf("only %d metrics were found in expressions", found)
	}
}

func TestDashboardIsOne(t *testing.T) {
	seen := map[int]bool{}
	for _, p := range panels(t) {
		if p.Title == "" || seen[p.ID] || p.GridPos.W == 0 || len(p.Targets) == 0 || p.Targets[0].Expr == "" {
			t.Errorf("the panel %+v shows nothing, or has another's id", p)
		}
		seen[p.ID] = true
	}
}

// object is a Kubernetes object, as far as it is looked at here.
type object struct {
	Kind, APIVersion string
	Metadata         struct{ Name, Namespace string }
	Data             map[string]string
	Spec             struct {
		Template struct {
			Spec struct {
				SecurityContext struct {
					RunAsNonRoot   bool
					SeccompProfile struct{ Type string }
				}
				Containers []struct {
					Name            string
					Args            []string
					SecurityContext struct {
						AllowPrivilegeEscalation *bool
						ReadOnlyRootFilesystem   bool
						Capabilities             struct{ Drop []string }
					}
					Ports        []struct{ Name string }
					VolumeMounts []struct{ Name, MountPath, SubPath string }
				}
				Volumes []struct{ Name string }
			}
		}
	}
}

func objects(t *testing.T, path string) (list []object) {
	t.Helper()
	for d := yaml.NewDecoder(strings.NewReader(string(readDeployed(t, path)))); ; {
		var any map[string]any
		err := d.Decode(&any)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		// Keys are compared without regard to case by way of JSON.
		raw, err := json.Marshal(any)
		var o object
		if err == nil {
			err = json.Unmarshal(raw, &o)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		list = append(list, o)
	}
}

// TestKubernetesManifestsAreSafe looks at what the cluster would run, and at the configuration that it would run with.
func TestKubernetesManifestsAreSafe(t *testing.T) {
	kinds := map[string]int{}
	var file *config.File
	for _, path := range []string{"kubernetes/keywright.yaml", "kubernetes/init.yaml"} {
		for _, o := range objects(t, path) {
			kinds[o.Kind]++
			if o.APIVersion == "" || o.Metadata.Name == "" || o.Kind != "Namespace" && o.Metadata.Namespace != "keywright" {
				t.Errorf("%s: %s %q has no name, version or namespace", path, o.Kind, o.Metadata.Name)
			}
			if text, ok := o.Data["keywright.yaml"]; ok {
				var problems []config.Problem
				if file, problems = config.Parse([]byte(text), "/etc/keywright"); problems != nil {
					t.Errorf("%s: the configuration has mistakes: %v", path, problems)
				}
			}
			pod := o.Spec.Template.Spec
			if len(pod.Containers) == 0 {
				continue
			}
			if !pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != "RuntimeDefault" {
				t.Errorf("%s: the pods of %s may be the superuser's, or call anything", path, o.Kind)
			}
			for _, c := range pod.Containers {
				s := c.SecurityContext
				if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem || !slices.Contains(s.Capabilities.Drop, "ALL") {
					t.Errorf("%s: the container %s may more than it needs", path, c.Name)
				}
				if !slices.Contains(c.Args, "/etc/keywright/keywright.yaml") {
					t.Errorf("%s: the container %s has another configuration: %v", path, c.Name, c.Args)
				}
			}
		}
	}
	for _, kind := range []string{"Namespace", "ServiceAccount", "ConfigMap", "Service", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy", "Job"} {
		if kinds[kind] == 0 {
			t.Errorf("there is no %s", kind)
		}
	}
	if file == nil || file.Store.Engine != "postgres" {
		t.Errorf("three nodes do not share a database: %+v", file)
	}
}

// TestUnitIsTakenBySystemd lets systemd judge the unit, with another program in the place of ours.
func TestUnitIsTakenBySystemd(t *testing.T) {
	text := string(readDeployed(t, "systemd/keywright.service"))
	for _, want := range []string{"Type=notify", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "User=keywright", "LimitCORE=0", "ExecReload=/bin/kill -HUP $MAINPID"} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("the unit lacks %s", want)
		}
	}
	if !regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/keywright server --config /etc/keywright/keywright.yaml$`).MatchString(text) {
		t.Error("the unit starts something else")
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("systemd-analyze is missing; scripts/deps installs it")
		}
		t.Skip("SKIPPED, NOT PASSED: systemd-analyze is missing; scripts/deps installs it")
	}
	path := filepath.Join(t.TempDir(), "keywright.service")
	if err := os.WriteFile(path, []byte(strings.Replace(text, "/usr/local/bin/keywright", "/bin/true", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", path).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, path) || strings.Contains(line, "keywright.service:") {
			t.Errorf("systemd says %s", line)
		}
	}
	if err != nil && !t.Failed() {
		t.Logf("systemd-analyze: %v %s", err, out) // about other units of the machine
	}
}
