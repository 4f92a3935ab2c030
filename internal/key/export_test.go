package key

// CheckReleasePolicy reports whether a release policy is one, for the fuzz target.
func CheckReleasePolicy(data []byte) (bool, error) {
	r, err := parseReleasePolicy(data)
	return r != nil, err
}
