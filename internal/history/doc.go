// Package history reads the past of twins: any state that was, the events between
// two instants, what changed, and how a number went.
//
// [Reader] does all of it over a [Store], and only reads. A state of the past is the
// newest snapshot before it plus the events that followed, folded by the rules that
// made them ([twin.Fold]): at most 256 of them, as the engine writes a snapshot with
// the first event of a shadow on a day and with every 256th. Where the older events
// have expired the store's base takes the place of the snapshot.
//
// # Late states
//
// An event of kind recorded holds a whole state that came after the fact: that of a
// shadow which lives elsewhere. It is no part of the fold. It is history of the
// instant at which it arose (its origin time), so [Reader.At] and [Reader.Series]
// place it there if it came within [LateMax]. So that shadows which live here do not pay
// for that, they look this far only if one was recorded shortly before the instant or is
// among the 64 events after it. Lists keep the order in which events
// were committed, because that order never changes and cursors can rely on it.
//
// # Limits
//
// No call keeps more than a page in memory. A limit over the maximum is an error
// that names the maximum, never a shorter page in silence.
package history
