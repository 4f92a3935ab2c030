package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Address is where a letter goes: an address (RFC 5322, addr-spec) and the name of whom it belongs to, which may be empty.
type Address = mail.Address

// ParseAddress reads an address that somebody set as a contact's. Line breaks and everything else that could be taken for more than one address is refused.
func ParseAddress(name, address string) (*Address, error) {
	a, err := mail.ParseAddress(address)
	if err != nil || a.Address != strings.TrimSpace(address) || strings.ContainsAny(address, "\r\n<>") {
		return nil, fault.New(fault.Invalid, "%q is no mail address", fault.Clip(address))
	}
	a.Name = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, name)
	return a, nil
}

// Letter is what people are told.
type Letter struct {
	// ID names what it tells of, such as the operation that did it: the same letter, added twice, is sent once.
	ID string
	// At is when that happened.
	At      time.Time
	To      []*Address
	Subject string
	// Text is plain, its lines end with a line feed.
	Text string
}

// parcel is a letter on its way to one recipient.
type parcel struct {
	// ID is hexadecimal, and the same for the same letter to the same recipient.
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	To      *Address  `json:"to"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	// Attempts counts those that were begun.
	Attempts int `json:"attempts,omitempty"`
}

func (l *Letter) parcel(to *Address) *parcel {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", l.ID, strings.ToLower(to.Address)))
	return &parcel{ID: hex.EncodeToString(sum[:16]), At: l.At, To: to, Subject: l.Subject, Text: l.Text}
}

// compose writes the letter as it is sent (RFC 5322). host is the right side of its Message-ID.
func (p *parcel) compose(from *Address, host string) ([]byte, error) {
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", from.String()}, {"To", p.To.String()},
		{"Subject", mime.QEncoding.Encode("utf-8", "[Keywright] "+p.Subject)},
		{"Date", p.At.UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + p.ID + "@" + host + ">"},
		// Nobody's absence is to be answered to.
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"},
	} {
		if strings.ContainsAny(h[1], "\r\n") && h[0] != "Subject" {
			return nil, fault.New(fault.Internal, "the header %s of a letter has a line break", h[0])
		}
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(strings.ReplaceAll(p.Text, "\n", "\r\n"))); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
