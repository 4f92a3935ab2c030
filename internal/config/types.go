package config

import (
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Path is a path of a file or directory. One that is relative starts at the configuration's directory; it is absolute once read.
type Path string

// SecretFile is the path of a file that holds a secret, and that only the server's user may read.
type SecretFile string

// Address is a host and a port.
type Address string

// Name is a DNS name in lower case, without a dot at its end.
type Name string

// URL is an absolute URL without user information, query or fragment; a mail relay's names its user.
type URL string

// Bytes is a size, written as 512, 64KiB, 25MiB or 1GiB.
type Bytes int64

// scalars read values of one type each. A reader gets the text as it is written and returns what is wrong with it, and how to mend it.
var scalars = map[reflect.Type]func(d *decoder, text string, tag reflect.StructTag) (any, string){
	reflect.TypeFor[Path](): func(d *decoder, text string, _ reflect.StructTag) (any, string) {
		p, wrong := d.path(text)
		return Path(p), wrong
	},
	reflect.TypeFor[SecretFile](): func(d *decoder, text string, _ reflect.StructTag) (any, string) {
		p, wrong := d.path(text)
		return SecretFile(p), wrong
	},
	reflect.TypeFor[Address]():       readAddress,
	reflect.TypeFor[Name]():          readName,
	reflect.TypeFor[URL]():           readURL,
	reflect.TypeFor[Bytes]():         readBytes,
	reflect.TypeFor[time.Duration](): readDuration,
	reflect.TypeFor[netip.Prefix]():  readNetwork,
}

func (d *decoder) path(text string) (path, wrong string) {
	if text == "" || strings.ContainsRune(text, 0) {
		return "", "is not a path: write one, such as /etc/keywright/seal.key"
	}
	if !filepath.IsAbs(text) {
		text = filepath.Join(d.dir, text)
	}
	return filepath.Clean(text), ""
}

func readAddress(_ *decoder, text string, _ reflect.StructTag) (any, string) {
	const cure = "write HOST:PORT, such as 0.0.0.0:443 or [::]:443"
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return nil, fmt.Sprintf("%q has no port: %s", text, cure)
	}
	host, port := text[:i], text[i+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return nil, fmt.Sprintf("%q is not a port: %s", port, cure)
	}
	plain, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		plain = strings.TrimSuffix(plain, "]")
	}
	a, err := netip.ParseAddr(plain)
	if err == nil && a.Is6() != bracketed || err != nil && (bracketed || checkName(host) != "") {
		return nil, fmt.Sprintf("%q is not an address or a name: %s", host, cure)
	}
	return Address(text), ""
}

func readName(_ *decoder, text string, _ reflect.StructTag) (any, string) {
	if wrong := checkName(text); wrong != "" {
		return nil, wrong
	}
	return Name(text), ""
}

// checkName says what is wrong with a DNS name (RFC 1123, section 2.1).
func checkName(text string) string {
	const cure = "write letters, digits and hyphens between dots, in lower case, such as vault.example.org"
	if len(text) == 0 || len(text) > 253 {
		return fmt.Sprintf("%q is not a DNS name: %s", text, cure)
	}
	for label := range strings.SplitSeq(text, ".") {
		ok := len(label) > 0 && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-'
		for _, c := range []byte(label) {
			ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
		}
		if !ok {
			return fmt.Sprintf("%q is not a DNS name: %s", text, cure)
		}
	}
	return ""
}

func readURL(_ *decoder, text string, tag reflect.StructTag) (any, string) {
	schemes := strings.Split(tag.Get("schemes"), ",")
	cure := "write " + schemes[0] + "://HOST:PORT"
	u, err := url.Parse(text)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Sprintf("is not a URL with the scheme %s: %s", strings.Join(schemes, " or "), cure) // not shown: it may hold a password
	}
	if _, has := u.User.Password(); has {
		return nil, "holds a password, which may not stand in this file: take it out and name a file that holds it"
	}
	return URL(text), ""
}

var units = []struct {
	suffix string
	factor int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}}

func readBytes(_ *decoder, text string, _ reflect.StructTag) (any, string) {
	digits, factor := text, int64(1)
	for _, u := range units {
		if cut, ok := strings.CutSuffix(text, u.suffix); ok {
			digits, factor = strings.TrimSuffix(cut, " "), u.factor
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return nil, fmt.Sprintf("%q is not a size: write a number of bytes, or one with KiB, MiB, GiB or TiB, such as 64MiB", text)
	}
	return Bytes(n * factor), ""
}

// String writes a size in the largest unit that divides it.
func (b Bytes) String() string {
	for i := len(units) - 1; i >= 0; i-- {
		if u := units[i]; b != 0 && int64(b)%u.factor == 0 {
			return strconv.FormatInt(int64(b)/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

func readDuration(_ *decoder, text string, _ reflect.StructTag) (any, string) {
	v, err := time.ParseDuration(text)
	if err == nil && (v < 0 || text == "0") {
		err = strconv.ErrRange
	}
	if err != nil {
		return nil, fmt.Sprintf("%q is not a duration: write a number with its unit, such as 500ms, 30s, 5m or 24h", text)
	}
	return v, ""
}

func readNetwork(_ *decoder, text string, _ reflect.StructTag) (any, string) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, fmt.Sprintf("%q is not a network: write an address and the length of its prefix, such as 10.0.0.0/8", text)
	}
	if p != p.Masked() {
		return nil, fmt.Sprintf("%q has bits behind its prefix: write %s", text, p.Masked())
	}
	return p, ""
}
