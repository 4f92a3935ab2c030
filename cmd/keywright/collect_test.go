package main

import (
	"runtime/debug"
	"testing"
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
