package keyring

// SetRecordsPerSalt lets a test reach the end of an audit session.
func (k *Keyring) SetRecordsPerSalt(n uint64) { k.audit.limit = n }
