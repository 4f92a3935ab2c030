package server

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHostsBlockIsKeptAndRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	const before = "127.0.0.1 localhost\n# a comment\n::1 localhost\n"
	if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	one, two := newHostsFile(path, "/one"), newHostsFile(path, "/two")
	steps := []struct {
		name  string
		file  *hostsFile
		names []string
		want  string
	}{
		{"first block", one, []string{"a.test"}, before + "# keywright begin /one\n127.0.0.1 a.test\n# keywright end /one\n"},
		{"second server", two, []string{"b.test"}, before + "# keywright begin /one\n127.0.0.1 a.test\n# keywright end /one\n" +
			"# keywright begin /two\n127.0.0.1 b.test\n# keywright end /two\n"},
		{"first goes", one, nil, before + "# keywright begin /two\n127.0.0.1 b.test\n# keywright end /two\n"},
		{"another name", two, []string{"b.test", "c.test"}, before + "# keywright begin /two\n127.0.0.1 b.test\n127.0.0.1 c.test\n# keywright end /two\n"},
		{"all gone", two, nil, before},
	}
	for _, step := range steps {
		if err := step.file.set("127.0.0.1", step.names); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != step.want {
			t.Errorf("%s: got\n%swant\n%s", step.name, got, step.want)
		}
	}
}
