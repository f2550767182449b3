// Package twin holds the nouns and the pure rules of Twofold: names, shadows and
// how an update changes them, events and their hash chain, error kinds.
//
// Start with [Shadow] (one JSON document with a desired and a reported section),
// [Request] (what a client asks), [NewChange] (the merge rules of the AWS IoT
// Device Shadow service) and [Event] (the immutable record of a change).
//
// Nothing in here reads a clock, draws a random number or does I/O: time comes in
// with the update. So a replay of the same events gives the same shadows, byte
// for byte.
package twin
