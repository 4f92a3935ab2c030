package config

import (
	"net/netip"
	"strings"
	"time"
)

// check finds combinations that cannot be. It looks at what could be read; what could not is told already.
func (d *decoder) check(f *File) {
	d.listeners(f)
	var seals []string
	for _, named := range []struct {
		key string
		is  bool
	}{{"keyFiles", len(f.Seal.KeyFiles) > 0}, {"passphraseFile", f.Seal.PassphraseFile != ""}, {"token", f.Seal.Token != nil}, {"shares", f.Seal.Shares}} {
		if named.is {
			seals = append(seals, named.key)
		}
	}
	if len(seals) > 1 {
		d.wrong("seal", "it names more than one seal (%s): keep one; to change the seal of an installation, move it", strings.Join(seals, ", "))
	} else if len(seals) == 0 && d.lines["seal"] != 0 && !d.told("seal") {
		d.wrong("seal", "it names no seal: write keyFiles, passphraseFile, token or shares")
	}
	if f.Store.Engine == "postgres" && f.Store.DSNFile == "" {
		d.wrong("store.dsnFile", "the engine postgres needs it: name a file that holds the connection string")
	} else if f.Store.Engine == "sqlite" && f.Store.DSNFile != "" {
		d.wrong("store.engine", "a connection string is named and the engine is sqlite: write postgres, or remove dsnFile")
	}
	if need := max(int64(f.Limits.MaxBackup), 6*int64(f.Limits.MaxSecret)+1<<20); int64(f.Limits.MaxBodyMemory) < need && f.Limits.MaxBodyMemory != 0 {
		d.wrong("limits.maxBodyMemory", "one body may have %s, which is more than all together: write at least that", Bytes(need))
	}
	if m := f.Mail; m != nil {
		if user, _, has := strings.Cut(strings.TrimPrefix(string(m.Relay), "smtp"), "@"); has && user != "" && m.PasswordFile == "" {
			d.wrong("mail.passwordFile", "the relay's URL names a user: name a file that holds its password")
		} else if !has && m.PasswordFile != "" {
			d.wrong("mail.relay", "there is a password and no user: write the user in the URL, such as smtps://keywright@mail.example.org:465")
		}
	}
	if kept := f.Audit.ShippedKept; kept < 0 || kept > 0 && kept < leastShipped {
		d.wrong("audit.shippedKept", "it is shorter than a week: write %s or more, or 0s to keep everything", leastShipped)
	}
	if f.Audit.Reserve != 0 && f.Audit.Segment > f.Audit.Reserve {
		d.wrong("audit.reserve", "it is smaller than one segment (%s): write at least that", f.Audit.Segment)
	}
}

// leastShipped is the shortest time for which shipped parts of audit logs are kept: whoever is behind them has to come to them first.
const leastShipped = 7 * 24 * time.Hour

func (d *decoder) listeners(f *File) {
	l := f.Listeners
	if l.Public == nil && l.Private == nil && d.lines["listeners"] != 0 && !d.told("listeners") {
		d.wrong("listeners", "there is neither a public nor a private listener: write one of them")
	}
	taken := map[string]string{}
	bind := func(key string, a Address) {
		if a == "" || strings.HasSuffix(string(a), ":0") {
			return
		}
		if other := taken[string(a)]; other != "" {
			d.wrong(key, "%s has the address %s already: write another port or address", other, a)
		}
		taken[string(a)] = key
	}
	if l.Public != nil {
		bind("listeners.public.address", l.Public.Address)
	}
	if l.Private != nil {
		bind("listeners.private.address", l.Private.Address)
	}
	bind("listeners.admin.address", l.Admin.Address)
	if l.Plain != nil {
		bind("listeners.plain.address", l.Plain.Address)
	}
	if l.Identity != nil {
		bind("listeners.identity.address", l.Identity.Address)
		if host, err := netip.ParseAddrPort(string(l.Identity.Address)); l.Identity.Address != "" && (err != nil || !host.Addr().IsLoopback()) {
			d.wrong("listeners.identity.address", "it is not an address of loop-back, and what it serves is not encrypted: write 127.0.0.1:PORT")
		}
	}
}
