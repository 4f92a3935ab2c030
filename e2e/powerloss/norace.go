//go:build !race

package powerloss

const raceDetector = false
