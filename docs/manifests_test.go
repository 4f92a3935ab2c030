package docs

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/keywright/keywright/internal/config"
)

var manifests = []string{"kubernetes/keywright.yaml", "kubernetes/init.yaml"}

// documents reads the objects of a manifest as they are.
func documents(t *testing.T, name string) (list []*yaml.Node) {
	t.Helper()
	for d := yaml.NewDecoder(strings.NewReader(string(readDeployed(t, name)))); ; {
		n := new(yaml.Node)
		err := d.Decode(n)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		list = append(list, n.Content[0])
	}
}

// at returns what stands at a path of names in a mapping; nil where there is nothing.
func at(n *yaml.Node, names ...string) *yaml.Node {
	for _, name := range names {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		var next *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				next = n.Content[i+1]
			}
		}
		n = next
	}
	return n
}

// text is what stands there as a scalar, or empty.
func text(n *yaml.Node, names ...string) string {
	if n = at(n, names...); n == nil {
		return ""
	}
	return n.Value
}

// items are the entries of a list.
func items(n *yaml.Node, names ...string) []*yaml.Node {
	if n = at(n, names...); n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// fields are the names of the Kubernetes API (reference v1.31: core/v1, apps/v1, batch/v1, policy/v1, networking.k8s.io/v1) that the manifests use, each below the one in
// front of the dot. A cluster that is not strict leaves out what it does not know, in silence: a readOnlyRootFilesystem in another spelling protects nothing.
var fields = strings.Fields(`
.apiVersion .kind .metadata .data .spec .automountServiceAccountToken
metadata.name metadata.namespace metadata.labels metadata.annotations
spec.type spec.externalTrafficPolicy spec.selector spec.ports spec.clusterIP
spec.serviceName spec.replicas spec.podManagementPolicy spec.template spec.volumeClaimTemplates
spec.backoffLimit spec.ttlSecondsAfterFinished spec.maxUnavailable spec.podSelector spec.policyTypes spec.ingress spec.egress
spec.serviceAccountName spec.automountServiceAccountToken spec.terminationGracePeriodSeconds spec.securityContext spec.restartPolicy
spec.topologySpreadConstraints spec.affinity spec.containers spec.volumes spec.accessModes spec.resources
template.metadata template.spec volumeClaimTemplates.metadata volumeClaimTemplates.spec
selector.matchLabels podSelector.matchLabels namespaceSelector.matchLabels labelSelector.matchLabels
ports.name ports.port ports.targetPort ports.containerPort ports.protocol
ingress.ports ingress.from egress.ports from.namespaceSelector
securityContext.runAsNonRoot securityContext.runAsUser securityContext.runAsGroup securityContext.fsGroup securityContext.fsGroupChangePolicy securityContext.seccompProfile
securityContext.allowPrivilegeEscalation securityContext.readOnlyRootFilesystem securityContext.capabilities seccompProfile.type capabilities.drop
topologySpreadConstraints.maxSkew topologySpreadConstraints.topologyKey topologySpreadConstraints.whenUnsatisfiable topologySpreadConstraints.labelSelector
affinity.podAntiAffinity podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution
requiredDuringSchedulingIgnoredDuringExecution.topologyKey requiredDuringSchedulingIgnoredDuringExecution.labelSelector
containers.name containers.image containers.args containers.ports containers.startupProbe containers.readinessProbe containers.livenessProbe containers.resources containers.env
containers.securityContext containers.volumeMounts
startupProbe.httpGet startupProbe.periodSeconds startupProbe.failureThreshold
readinessProbe.httpGet readinessProbe.periodSeconds readinessProbe.timeoutSeconds
livenessProbe.httpGet livenessProbe.periodSeconds livenessProbe.timeoutSeconds livenessProbe.failureThreshold
httpGet.path httpGet.port httpGet.scheme resources.requests resources.limits env.name env.value
volumeMounts.name volumeMounts.mountPath volumeMounts.subPath volumeMounts.readOnly
volumes.name volumes.configMap volumes.secret volumes.emptyDir configMap.name secret.secretName secret.defaultMode`)

// free are the fields whose members the writer of a manifest names.
var free = []string{"labels", "annotations", "data", "matchLabels", "requests", "limits"}

func unknownFields(n *yaml.Node, below string) (list []string) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i].Value
			if !slices.Contains(fields, below+"."+name) {
				list = append(list, fmt.Sprintf("%s.%s in line %d", below, name, n.Content[i].Line))
			}
			if !slices.Contains(free, name) && !(below == "spec" && name == "selector" && at(n, "selector", "matchLabels") == nil) {
				list = append(list, unknownFields(n.Content[i+1], name)...)
			}
		}
	case yaml.SequenceNode:
		for _, entry := range n.Content {
			list = append(list, unknownFields(entry, below)...)
		}
	}
	return list
}

func TestManifestsNameFieldsThatExist(t *testing.T) {
	for _, name := range manifests {
		for _, d := range documents(t, name) {
			for _, unknown := range unknownFields(d, "") {
				t.Errorf("%s has the field %s, which is not in the list of those of Kubernetes", name, unknown)
			}
		}
	}
	misspelt := new(yaml.Node)
	if err := yaml.Unmarshal([]byte("spec: {template: {spec: {containers: [{securityContext: {readonlyRootFilesystem: true}}]}}}"), misspelt); err != nil {
		t.Fatal(err)
	}
	if got := unknownFields(misspelt.Content[0], ""); len(got) != 1 || !strings.HasPrefix(got[0], "securityContext.readonlyRootFilesystem") {
		t.Errorf("a field in another spelling is told as %q", got)
	}
}

// TestManifestsFitTogether follows the names that lead from one part of a manifest to another: ports, volumes, and the paths of the configuration.
func TestManifestsFitTogether(t *testing.T) {
	var file *config.File
	listeners, targets, pods := map[string]string{}, map[string]bool{}, 0
	var all []*yaml.Node
	for _, name := range manifests {
		all = append(all, documents(t, name)...)
	}
	for _, d := range all {
		if content := text(d, "data", "keywright.yaml"); content != "" {
			var problems []config.Problem
			if file, problems = config.Parse([]byte(content), "/etc/keywright"); problems != nil {
				t.Fatal(problems)
			}
			for name, l := range map[string]string{"https": string(file.Listeners.Public.Address), "admin": string(file.Listeners.Admin.Address)} {
				_, port, err := net.SplitHostPort(l)
				if err != nil {
					t.Fatal(err)
				}
				listeners[name] = port
			}
		}
		if text(d, "kind") == "Service" {
			for _, p := range items(d, "spec", "ports") {
				targets[text(p, "targetPort")] = true
			}
		}
	}
	if file == nil || len(targets) == 0 {
		t.Fatal("the manifests have no configuration, or no services")
	}
	for _, d := range all {
		pod := at(d, "spec", "template", "spec")
		for _, c := range items(pod, "containers") {
			pods++
			who := text(d, "kind") + "/" + text(c, "name")
			volumes := map[string]bool{}
			for _, v := range append(items(pod, "volumes"), items(d, "spec", "volumeClaimTemplates")...) {
				volumes[text(v, "name")+text(v, "metadata", "name")] = true
			}
			var mounted, writable []string
			for _, m := range items(c, "volumeMounts") {
				if !volumes[text(m, "name")] {
					t.Errorf("%s mounts the volume %q, which it does not have", who, text(m, "name"))
				}
				mounted = append(mounted, text(m, "mountPath"))
				if text(m, "readOnly") != "true" {
					writable = append(writable, text(m, "mountPath"))
				}
			}
			below := func(roots []string, name string) bool {
				return slices.ContainsFunc(roots, func(r string) bool { return name == r || strings.HasPrefix(name, r+"/") })
			}
			paths := []string{"/etc/keywright/keywright.yaml", string(file.Store.DSNFile), string(file.TLS.Certificates[0].CertificateFile), string(file.TLS.Certificates[0].KeyFile)}
			for _, k := range file.Seal.KeyFiles {
				paths = append(paths, string(k))
			}
			for _, p := range paths {
				if !path.IsAbs(p) || !below(mounted, p) {
					t.Errorf("%s has no file %s, which the configuration names", who, p)
				}
			}
			if !below(writable, string(file.Directory)) || len(writable) != 1 {
				t.Errorf("%s may write %v, and works in %s", who, writable, file.Directory)
			}
			if text(d, "kind") == "Job" {
				continue
			}
			ports := map[string]string{}
			for _, p := range items(c, "ports") {
				ports[text(p, "name")] = text(p, "containerPort")
			}
			for name, port := range listeners {
				if ports[name] != port {
					t.Errorf("%s names the port %s of the listener %s %q", who, port, name, ports[name])
				}
			}
			for name := range targets {
				if ports[name] == "" {
					t.Errorf("%s has no port %q, which a service leads to", who, name)
				}
			}
			for probe, want := range map[string]string{"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"} {
				get := at(c, probe, "httpGet")
				if text(get, "path") != want || ports[text(get, "port")] == "" || text(get, "scheme") != "HTTPS" {
					t.Errorf("%s has the %s %s %s %s", who, probe, text(get, "scheme"), text(get, "path"), text(get, "port"))
				}
			}
		}
	}
	if pods != 2 {
		t.Errorf("there are %d containers in the manifests", pods)
	}
}

// TestContainerIsOneProgram reads the file by which the image is built.
func TestContainerIsOneProgram(t *testing.T) {
	last := map[string]string{}
	copied := map[string]string{}
	for line := range strings.Lines(string(readDeployed(t, "container/Containerfile"))) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		last[word] = rest
		if m := regexp.MustCompile(`^--from=build (?:--chown=(\S+) )?\S+ (\S+)$`).FindStringSubmatch(rest); word == "COPY" && m != nil {
			copied[m[2]] = m[1]
		}
	}
	const user = "65532:65532"
	for word, want := range map[string]string{"FROM": "scratch", "USER": user, "VOLUME": "/var/lib/keywright", "EXPOSE": "443 8444", "ENTRYPOINT": `["/keywright"]`,
		"CMD": `["server", "--config", "/etc/keywright/keywright.yaml"]`} {
		if last[word] != want {
			t.Errorf("the image has %s %s, want %s", word, last[word], want)
		}
	}
	if _, ok := copied["/keywright"]; !ok || copied["/var/lib/keywright"] != user {
		t.Errorf("the image has %v: the program, and a directory of its user's own", copied)
	}
	// The user of the image is that of the pods.
	for _, name := range manifests {
		for _, d := range documents(t, name) {
			if s := at(d, "spec", "template", "spec", "securityContext"); s != nil && text(s, "runAsUser")+":"+text(s, "runAsGroup") != user {
				t.Errorf("%s runs as another user than the image", name)
			}
		}
	}
}
