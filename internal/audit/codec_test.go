package audit

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCodecKeepsEveryField(t *testing.T) {
	r := sample(9)
	r.ClientBits, r.Count = 24, 3
	v := reflect.ValueOf(*r)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "Index" && name != "Shredded" && name != "Change" && name != "Log" {
			t.Errorf("the sample has no %s: this test would not see it lost", name)
		}
	}
	got, err := Decode(r.AppendBinary(nil))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Errorf("\n%+v\n%+v", got, r)
	}
}

func TestLongTextsAreCutVisibly(t *testing.T) {
	r := sample(0)
	r.UserAgent = strings.Repeat("ä", 1000)
	r.Path = strings.Repeat("\xff", 10_000)
	r.ClientAddress = netip.MustParseAddr("fe80::1%eth0")
	b := r.AppendBinary(nil)
	if len(b) > 8192 {
		t.Errorf("%d bytes", len(b))
	}
	got, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.UserAgent) > maxClient || !strings.HasSuffix(got.UserAgent, "ä"+cutMark) || !utf8.ValidString(got.UserAgent) {
		t.Errorf("user agent %q", got.UserAgent)
	}
	if len(got.Path) != maxPath || !strings.HasSuffix(got.Path, cutMark) {
		t.Errorf("path of %d bytes", len(got.Path))
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample(9).AppendBinary(nil))
	f.Add((&Record{}).AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			if r != nil {
				t.Fatal("a record came with an error")
			}
			return
		}
		if again := r.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Errorf("%x decodes and encodes to %x", b, again)
		}
	})
}

func FuzzEncode(f *testing.F) {
	f.Add("a", "b", "c", uint16(200), int64(1))
	f.Fuzz(func(t *testing.T, name, agent, path string, status uint16, micros int64) {
		r := sample(1)
		r.ObjectName, r.UserAgent, r.Path, r.Status = name, agent, path, status
		b := r.AppendBinary(nil)
		if len(b) > 8192 {
			t.Fatalf("%d bytes", len(b))
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if again := got.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Error("not canonical")
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	frame, err := Seal(nil, newGCM(f, "tenant-a"), sample(0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEnvelope(b)
		if err != nil {
			return
		}
		if !bytes.Equal(append(bytes.Clone(e.clear), e.sealed...), b) {
			t.Error("the envelope does not add up to the frame")
		}
	})
}
