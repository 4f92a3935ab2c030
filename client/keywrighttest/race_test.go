//go:build race

package keywrighttest_test

const raceEnabled = true
