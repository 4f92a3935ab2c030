package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestGOGCDecidesOverTheDefault(t *testing.T) {
	const before = 150
	for gogc, want := range map[string]int{"": gcPercent, "100": before, "off": before} {
		was := debug.SetGCPercent(before)
		collectSeldom(func(name string) string { return map[string]string{"GOGC": gogc}[name] })
		if got := debug.SetGCPercent(was); got != want {
			t.Errorf("with GOGC %q the percentage is %d: want %d", gogc, got, want)
		}
	}
}

func TestGarbageIsBounded(t *testing.T) {
	for live, want := range map[uint64]int{0: gcPercent, 10 << 20: gcPercent, 32 << 20: 300, 64 << 20: 100, 100 << 20: leastPercent, 1 << 30: leastPercent} {
		if got := percentFor(live); got != want {
			t.Errorf("with %d MiB that live the percentage is %d: want %d", live>>20, got, want)
		}
	}
	was := debug.SetGCPercent(gcPercent)
	defer debug.SetGCPercent(was)
	afterEachCollection(gcPercent)
	ballast := make([]byte, 2*mostHeap)
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		runtime.GC()
		percent := debug.SetGCPercent(gcPercent)
		if debug.SetGCPercent(percent); percent < 100 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("with %d MiB that live the percentage stays %d", len(ballast)>>20, percent)
		}
	}
	runtime.KeepAlive(ballast)
}
