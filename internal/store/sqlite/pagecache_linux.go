package sqlite

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cachedBytes returns how many bytes of a range are in the page cache (cachestat(2), Linux 6.5).
func cachedBytes(f *os.File, off, n int64) (int64, error) {
	var s unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &s, 0)
	return int64(s.Cache) * int64(os.Getpagesize()), err
}

// pageCacheRoom returns how much memory the page cache may take for this process, in bytes: what programs leave of the machine (MemAvailable of proc_meminfo(5)), and
// no more than the limit of the control group. It is 0 when nobody tells.
func pageCacheRoom() int64 {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	room := availableIn(raw)
	group, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return room
	}
	for line := range bytes.Lines(group) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "0::"); ok {
			return min(room, limitOf("/sys/fs/cgroup", path, room))
		}
	}
	return room
}

// availableIn reads MemAvailable from the text of /proc/meminfo.
func availableIn(meminfo []byte) int64 {
	for line := range bytes.Lines(meminfo) {
		if fields := strings.Fields(string(line)); len(fields) == 3 && fields[0] == "MemAvailable:" && fields[2] == "kB" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// limitOf returns the least memory.max of a control group and those above it, or none when there is no limit
// (https://docs.kernel.org/admin-guide/cgroup-v2.html).
func limitOf(root, path string, none int64) int64 {
	least := none
	for path = filepath.Clean("/" + path); ; path = filepath.Dir(path) {
		raw, err := os.ReadFile(filepath.Join(root, path, "memory.max"))
		if limit, notNumber := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err == nil && notNumber == nil {
			least = min(least, limit)
		}
		if path == "/" {
			return least
		}
	}
}
