//go:build !race

package machine

// RaceDetector says whether the program was built with -race, which makes some work many times slower.
const RaceDetector = false
