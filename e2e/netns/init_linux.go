package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Init does nothing in an ordinary process. In the copy of this program that [Spec.Command] has the kernel start, it
// prepares the namespaces and becomes the command; it does not return there.
func Init() {
	if len(os.Args) != 2 || os.Args[0] != initName {
		return
	}
	var p plan
	err := json.Unmarshal([]byte(os.Args[1]), &p)
	if err == nil {
		err = p.Spec.prepare()
	}
	if err == nil {
		if p.Path == "" {
			os.Exit(0)
		}
		err = unix.Exec(p.Path, p.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, "preparing a namespace:", err)
	os.Exit(125)
}

func (s Spec) prepare() error {
	// Without this, mounts made here would travel back to the machine where / is shared, as systemd makes it.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mount table private: %w", err)
	}
	if err := s.overlayFiles(); err != nil {
		return err
	}
	if !s.Network {
		if len(s.Addresses) > 0 {
			return errors.New("addresses need a network of their own: set Network")
		}
		return nil
	}
	return s.configureLoopback()
}

// overlayFiles lays the given contents over the files of the machine. The contents live in a tmpfs that only this
// mount table knows and that goes with its last process, so nothing has to be removed afterwards.
func (s Spec) overlayFiles() error {
	files := map[string]string{}
	if s.Hosts != "" {
		files["/etc/hosts"] = s.Hosts
	}
	if s.ResolvConf != "" {
		files["/etc/resolv.conf"] = s.ResolvConf
	}
	if len(files) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp("", "netns-")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755"); err != nil {
		return fmt.Errorf("mounting a tmpfs: %w", err)
	}
	// Detached, the file system lives on under the bind mounts below.
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	for target, content := range files {
		source := filepath.Join(dir, filepath.Base(target))
		if err := os.WriteFile(source, []byte(content), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("laying another file over %s: %w", target, err)
		}
	}
	return nil
}

// configureLoopback brings lo up and gives it the further addresses, as lo:1, lo:2 …, with the old ioctls of
// netdevice(7): they need neither netlink nor the ip program.
func (s Spec) configureLoopback() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket to configure lo: %w", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	for i, address := range s.Addresses {
		if err := addAddress(socket, fmt.Sprintf("lo:%d", i+1), address); err != nil {
			return fmt.Errorf("giving lo the address %s: %w", address, err)
		}
	}
	return nil
}

func addAddress(socket int, label, address string) error {
	ip, err := netip.ParseAddr(strings.TrimSuffix(address, "/32"))
	if err != nil {
		return err
	}
	if !ip.Is4() {
		return errors.New("not an IPv4 address")
	}
	for _, step := range []struct {
		request uint
		value   []byte
	}{
		{unix.SIOCSIFADDR, ip.AsSlice()},
		{unix.SIOCSIFNETMASK, []byte{255, 255, 255, 255}},
	} {
		request, err := unix.NewIfreq(label)
		if err != nil {
			return err
		}
		if err := request.SetInet4Addr(step.value); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(socket, step.request, request); err != nil {
			return err
		}
	}
	return nil
}
