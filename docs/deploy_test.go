package docs

import (
	"encoding/json"
	"errors"
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

// TestEveryAlertHasARunbook compares the rules with the sections of the page, their expressions included.
func TestEveryAlertHasARunbook(t *testing.T) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(readDeployed(t, "monitoring/alerts.yaml"), &file); err != nil {
		t.Fatal(err)
	}
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
	for _, g := range file.Groups {
		for _, r := range g.Rules {
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
	}
	same(t, "docs/operations/runbooks.md", alerts, titles)
}

func TestDashboardIsOne(t *testing.T) {
	var d struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(readDeployed(t, "monitoring/dashboard.json"), &d); err != nil || len(d.Panels) < 10 {
		t.Fatalf("%d panels, %v", len(d.Panels), err)
	}
	seen := map[int]bool{}
	for _, p := range d.Panels {
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
