package cryptokey

// WrapSemiblocks lets a test wrap what the package never would.
var WrapSemiblocks = wrapSemiblocks
