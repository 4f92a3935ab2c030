package pkcs11_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/token/pkcs11"
)

func TestReadPIN(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, text := range []string{"271828", "271828\n", "271828\r\n"} {
		if pin, err := pkcs11.ReadPIN(write("pin", text, 0o600)); err != nil || pin.Reveal() != "271828" {
			t.Errorf("%q: %q, %v", text, pin.Reveal(), err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "pin"), link); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"empty": write("empty", "\n", 0o600), "two lines": write("two", "271828\n1\n", 0o600), "long": write("long", strings.Repeat("1", 300), 0o600),
		"readable by others": write("open", "271828", 0o640), "a link": link, "missing": filepath.Join(dir, "none"), "a directory": dir} {
		if pin, err := pkcs11.ReadPIN(path); err == nil || pin != "" || strings.Contains(err.Error(), "271828") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
