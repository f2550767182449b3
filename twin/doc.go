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
//
// # From a request to what is published
//
//	req, err := twin.ParseRequest(payload, limits)      // req has the clientToken even if err is set
//	change, err := twin.NewChange(key, prev, req, now, limits)
//	change.Current.AppendBinary(nil)                    // what is stored; DecodeShadow reads it
//	change.AppendAccepted(nil)                          // …/update/accepted, and the HTTP body
//	if change.HasDelta() { change.AppendDelta(nil) }    // …/update/delta
//	change.AppendDocuments(nil)                         // …/update/documents
//	twin.AppendGet(nil, change.Current, now, nil)       // …/get/accepted
//
// The rules, each with an example, are the scripts in testdata.
//
// # Reading a shadow
//
// [Node] is a JSON value with the time at which each of its leaves was last sent.
// [Node.AppendJSON] and [Node.AppendMetadata] render it, [Node.Leaves] walks it,
// [Shadow.Delta] is what desired asks and reported does not say. All of them take a
// nil *Node, an absent section, for an empty object.
//
// # Caveats
//
// Shadows are immutable and versions share memory, so a shadow that is kept may keep
// alive what the one before it was read from. To hold many of them, hold their
// encodings.
package twin
