// Package subject runs the servers that a benchmark or check looks at: Twofold
// and mosquitto, each a child process on loopback with its data in a directory of
// its own, and reads what they use from /proc.
//
// A [Process] is ended by its own id only, and always waited for.
package subject
