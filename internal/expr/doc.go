// Package expr is the one expression language: fleet queries, computed attributes,
// alarm conditions and feed filters are written in it. It is CEL over what is known of
// one twin; see [Env] for the names and [Compile].
//
// All numbers are float64: an integer in the text is a number like any other, and
// size() and int() give one, so that reported.count + 1 is what it looks like.
//
// A result has three values. What reads something that the twin does not have is
// absent, never 0 and never false: absent + 1 and absent > 20 are absent. As with
// unknown truth, false && absent is false and true || absent is true. has(reported.x)
// says whether a thing is there. A division by zero or a wrong type is a failure
// with a reason, not a panic; the same rules of && and || apply to it.
//
// [Program]s are immutable and safe for concurrent use. They read [twin.Node]s where
// they are; nothing is copied but the scalars that are touched.
package expr
