//go:build race

package server

// raceDetector is true in a build with the race detector, which finds the races of Pebble itself. make test runs what needs Pebble once more without it.
const raceDetector = true
