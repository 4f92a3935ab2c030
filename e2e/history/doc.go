// Package history records what clients did to values that several of them write and read, and judges it.
//
// A Register is a value that anybody may write; its history is linearizable, each read counting from as long before its begin as reads may be stale. A Count is a
// value that one client counts up; no reader sees it go back, ahead of what was begun, or behind what was acknowledged for longer than that.
//
// A write without a clear answer may have been made, or will be, or never. In a Register it is recorded as such. A Count has none: whoever does not know what
// became of a write begins another Count.
package history
