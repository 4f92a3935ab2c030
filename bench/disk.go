package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// appendAndSync is the ceiling of a durable write: one loop that appends 4 KiB and waits for the disk.
func appendAndSync(dir string, d time.Duration) (perSecond float64, err error) {
	f, err := os.Create(filepath.Join(dir, "append"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, 4<<10)
	start := time.Now()
	n := 0
	for ; time.Since(start) < d; n++ {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(start).Seconds(), nil
}
