// Package graph is the door of Microsoft Graph's clients: the few look-ups in the directory by which az finds whom to grant a
// role. It changes nothing.
package graph
