package sqlite

// Step is a step of this engine's schema, counted from 1.
var Step = step
