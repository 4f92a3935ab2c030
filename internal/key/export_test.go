package key

// CheckReleasePolicy reports whether a release policy is one, for the fuzz target.
func CheckReleasePolicy(data []byte) (bool, error) {
	r, err := parseReleasePolicy(data)
	return r != nil, err
}

// RoundTripHeld reads where a key is in a token and writes it again.
func RoundTripHeld(value []byte) ([]byte, error) {
	h, err := parseHeld(value)
	if err != nil {
		return nil, err
	}
	return h.append(nil), nil
}
