package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// least is the shortest file that works.
const least = `directory: /var/lib/keywright
names: {suffix: vault.example.org}
listeners: {public: {address: "0.0.0.0:443"}}
tls: {certificates: [{certificateFile: tls.crt, keyFile: tls.key}]}
seal: {keyFiles: [seal.key]}
`

func TestDefaultsAreFilledIn(t *testing.T) {
	f, problems := Parse([]byte(least), "/etc/keywright")
	if problems != nil {
		t.Fatal(problems)
	}
	if f.Listeners.Admin.Address != "127.0.0.1:8444" || f.Audit.Reserve != 1<<30 || f.TLS.Reload != 30*time.Second || !f.Listeners.Public.Management || f.Listeners.Private != nil {
		t.Errorf("%+v", f)
	}
	if got := f.Seal.KeyFiles[0]; got != "/etc/keywright/seal.key" {
		t.Errorf("a relative path is %s", got)
	}
}

// TestEveryMistakeIsTold has one file with many mistakes, and expects all of them, each at its line.
func TestEveryMistakeIsTold(t *testing.T) {
	const text = `directory: ""
regoin: somewhere
region: 7
names:
  suffix: Vault.Example
  challengeTenant: guid
  port: "443"
listeners:
  public: 0.0.0.0:443
  private:
    address: 10.0.0.1:443
    networks: [10.0.0.1/8, x]
    management: yes
  admin:
    address: 10.0.0.1:443
  identity:
    address: 0.0.0.0:80
tls:
  certificates: []
  minVersion: "1.1"
  reload: 30
  warn: 10000h
seal:
  keyFiles: seal.key
  passphraseFile: p
audit:
  durability: fsync
  durability: os
  reserve: 1MiB
limits:
  maxVersions: -1
  ratePerVault: many
  maxBodyMemory: 2MiB
  maxSecret: 25kB
mail:
  relay: smtps://me:pw@mail:465
tracing:
log: &x
  level: warn
`
	want := map[int][]string{
		1: {"directory: is not a path"}, 2: {"regoin: there is no such key: write region"}, 3: {"region: YAML reads 7"},
		5: {"names.suffix: \"Vault.Example\" is not a DNS name"}, 6: {"names.challengeTenant: \"guid\" is not one of adfs, id"}, 7: {"names.port: \"443\" is not a number: write digits without quotes"},
		9:  {"listeners.public: it takes keys of its own and not one value"},
		12: {"networks[0]: \"10.0.0.1/8\" has bits behind its prefix: write 10.0.0.0/8", "networks[1]: \"x\" is not a network"},
		13: {"management: \"yes\" is neither true nor false"},
		15: {"listeners.admin.address: listeners.private.address has the address 10.0.0.1:443 already"},
		17: {"listeners.identity.address: it is not an address of loop-back"},
		19: {"tls.certificates: the list is empty"}, 20: {"tls.minVersion: \"1.1\" is not one of"}, 21: {"tls.reload: \"30\" is not a duration"}, 22: {"tls.warn: it is more than 8760h"},
		24: {"seal.keyFiles: it takes a list and not one value"},
		28: {"audit.durability: it stands in line 27 already"}, 29: {"audit.reserve: it is smaller than one segment (64MiB)"},
		31: {"limits.maxVersions: it is less than 0"}, 32: {"limits.ratePerVault: \"many\" is not a number"}, 33: {"limits.maxBodyMemory: one body may have 64MiB"}, 34: {"limits.maxSecret: \"25kB\" is not a size"},
		35: {"mail.from: it is missing"}, 36: {"mail.relay: holds a password"}, 37: {"tracing: it has no value"}, 38: {"log: anchors and aliases"},
	}
	_, problems := Parse([]byte(text), "/etc/keywright")
	got := map[int][]string{}
	for _, p := range problems {
		got[p.Line] = append(got[p.Line], p.Key+": "+p.Text)
	}
	for line, texts := range want {
		if len(got[line]) != len(texts) {
			t.Errorf("line %d: %q, want %q", line, got[line], texts)
			continue
		}
		for i, text := range texts {
			if !strings.Contains(got[line][i], text) {
				t.Errorf("line %d: %q, want %q", line, got[line][i], text)
			}
		}
		delete(got, line)
	}
	if len(got) > 0 {
		t.Errorf("beyond what was expected: %v", got)
	}
	for _, p := range problems {
		if strings.Contains(p.Text, "pw") {
			t.Errorf("a password is told: %s", p.Text)
		}
	}
}

// TestOneMistakeIsToldOnce has mistakes from which others seem to follow.
func TestOneMistakeIsToldOnce(t *testing.T) {
	for text, want := range map[string]string{
		strings.Replace(least, "suffix", "sufix", 1):                            "names.sufix: there is no such key: write suffix",
		strings.Replace(least, "[seal.key]", "seal.key", 1):                     "seal.keyFiles: it takes a list",
		strings.Replace(least, "keyFiles", "keyfiles", 1):                       "seal.keyfiles: there is no such key: write keyFiles",
		strings.Replace(least, `{public: {address: "0.0.0.0:443"}}`, "none", 1): "listeners: it takes keys of its own",
		strings.Replace(least, "public", "pubic", 1):                            "listeners.pubic: there is no such key: write public",
	} {
		_, problems := Parse([]byte(text), "/")
		if len(problems) != 1 || !strings.HasPrefix(problems[0].Key+": "+problems[0].Text, want) {
			t.Errorf("%s%+v, want %q alone", text, problems, want)
		}
	}
}

func TestWhatIsNoFileOfOurs(t *testing.T) {
	for name, c := range map[string]struct {
		text, want string
		line       int
	}{
		"empty":           {"", "it is empty", 0},
		"not YAML":        {"a: [", "it is not YAML", 1},
		"a list":          {"- a\n", "it takes keys of its own and not a list", 0},
		"two documents":   {least + "---\na: 1\n", "more than one document", 0},
		"a tag":           {"directory: !!str x\n", "the tag", 1},
		"an alias":        {"region: &a x\ndirectory: *a\n", "anchors and aliases", 1},
		"no listener":     {strings.Replace(least, `{public: {address: "0.0.0.0:443"}}`, "{}", 1), "neither a public nor a private listener", 3},
		"no seal":         {strings.Replace(least, "seal: {keyFiles: [seal.key]}", "seal: {}", 1), "it names no seal", 5},
		"two seals":       {strings.Replace(least, "[seal.key]", "[seal.key], passphraseFile: p", 1), "more than one seal (keyFiles, passphraseFile)", 5},
		"user, no secret": {least + "mail: {relay: \"smtps://me@mail:465\", from: a@b}\n", "name a file that holds its password", 6},
	} {
		_, problems := Parse([]byte(c.text), "/")
		found := false
		for _, p := range problems {
			found = found || strings.Contains(p.Text, c.want) && p.Line == c.line
		}
		if !found {
			t.Errorf("%s: %+v, want %q in line %d", name, problems, c.want, c.line)
		}
	}
}

// TestTypesAreDescribed keeps the tags such that every key can be read and documented.
func TestTypesAreDescribed(t *testing.T) {
	seen := 0
	var walk func(t reflect.Type)
	walk = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			seen++
			if f.Tag.Get("yaml") == "" {
				t.Errorf("%s.%s has no key", typ.Name(), f.Name)
			}
			inner := f.Type
			for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && scalars[inner] == nil {
				walk(inner)
				continue
			}
			if f.Tag.Get("default") == "" && f.Tag.Get("example") == "" {
				t.Errorf("%s.%s has neither a default nor an example", typ.Name(), f.Name)
			}
			for _, name := range []string{"default", "example", "min", "max"} {
				text := f.Tag.Get(name)
				if text == "" {
					continue
				}
				d := &decoder{dir: "/", lines: map[string]int{}}
				d.set(text, reflect.New(inner).Elem(), f.Name, f.Tag)
				if name != "example" && len(d.problems) > 0 || len(d.problems) > 0 && f.Type.Kind() != reflect.Slice {
					t.Errorf("%s.%s: %s %q: %v", typ.Name(), f.Name, name, text, d.problems)
				}
			}
		}
	}
	walk(reflect.TypeFor[File]())
	if seen < 60 {
		t.Fatalf("only %d keys were found", seen)
	}
}

// TestExampleIsAFile reads the example as it stands, and with everything in it that is commented out, which names all seals and both engines at once.
func TestExampleIsAFile(t *testing.T) {
	text, err := os.ReadFile("../../deploy/keywright.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, problems := Parse(text, "/"); problems != nil {
		t.Errorf("as it stands: %v", problems)
	}
	var all strings.Builder
	for line := range strings.Lines(string(text)) {
		if bare := strings.TrimLeft(line, " "); strings.HasPrefix(bare, "#") && !strings.HasPrefix(bare, "# ") {
			line = strings.Replace(line, "#", "", 1)
		}
		all.WriteString(line)
	}
	_, problems := Parse([]byte(all.String()), "/")
	if len(problems) != 2 || problems[0].Key != "store.engine" || problems[1].Key != "seal" {
		t.Errorf("with everything: %v", problems)
	}
}

func TestSecretFilesArePrivate(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("tls.key", 0o600)
	write("tls.crt", 0o644)
	write("keywright.yaml", 0o644)
	file := filepath.Join(dir, "keywright.yaml")
	if err := os.WriteFile(file, []byte(least), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err != nil {
		t.Errorf("a seal's file that init makes is asked for: %v", err)
	}
	for mode, want := range map[os.FileMode]string{0o640: "", 0o440: "", 0o644: "others can use the file", 0o660: "a group can write", 0o606: "others can use"} {
		write("tls.key", mode)
		_, err := Load(file)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), "keywright.yaml:4: tls.certificates[0].keyFile: "+want)) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	write("tls.key", 0o600)
	if err := os.Remove(filepath.Join(dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "tls.key does not exist") {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "tls.crt")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "has 2 mistakes") || !strings.Contains(err.Error(), "certificateFile: the file "+filepath.Join(dir, "tls.crt")+" does not exist") {
		t.Errorf("a missing certificate: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tls.key"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "everybody may write") {
		t.Errorf("a configuration that everybody may write: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(least))
	if text, err := os.ReadFile("../../deploy/keywright.yaml"); err == nil {
		f.Add(text)
	}
	f.Add([]byte("a: &b [*b]\n? {x: y}\n: z\n<<: *b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, problems := Parse(text, "/etc/keywright")
		if (file == nil) != (len(problems) > 0) {
			t.Fatalf("%v with %v", file, problems)
		}
		for _, p := range problems {
			if p.Text == "" || p.Line < 0 {
				t.Errorf("a mistake that says nothing: %+v", p)
			}
		}
		if file != nil && (file.Directory == "" || len(file.TLS.Certificates) == 0 || file.Listeners.Public == nil && file.Listeners.Private == nil) {
			t.Errorf("a file that lacks what a server needs was taken: %q", text)
		}
	})
}

func TestSizesComeBack(t *testing.T) {
	for _, b := range []Bytes{0, 1, 1023, 1 << 10, 25 << 10, 64 << 20, 1 << 30, 5 << 40} {
		got, wrong := readBytes(nil, b.String(), "")
		if wrong != "" || got != b {
			t.Errorf("%s reads as %v: %s", b, got, wrong)
		}
	}
}

func TestAMistakeOfTheWholeFileHasNoLine(t *testing.T) {
	for want, m := range map[string]Problem{
		"kw.yaml: seal: it is missing": {Key: "seal", Text: "it is missing"},
		"kw.yaml:3: names: it is bad":  {Line: 3, Key: "names", Text: "it is bad"},
		"kw.yaml: it is empty":         {Text: "it is empty"},
	} {
		if got := m.In("kw.yaml"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
