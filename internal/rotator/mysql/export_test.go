package mysql

import sqldriver "database/sql/driver"

// Persistent returns a connector that gets over what the driver takes for malformed packets.
func Persistent(c sqldriver.Connector) sqldriver.Connector { return persistent{c} }
