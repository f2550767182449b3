// Package proof checks the past: that no event of a twin was altered, lost, moved,
// repeated or spliced in, and that its shadows are what its events give.
//
//   - [Verify] checks the hash chain of every thing against its anchors and head.
//   - [WriteHeads] exports the heads; [CheckHeads] compares them with the store later. Only
//     they show that a log was cut short, or written anew, with its head.
//   - [Rebuild] folds the events of every shadow and compares with what is stored.
//   - [Replay] goes through one shadow's events step by step.
//   - [ExportAudit] writes events with their proofs to a file, [CheckFile] checks such a file
//     without a store.
//
// # What can be found, and how closely
//
// The store keeps the link of the hash chain once per segment ([twin.SegmentEvents]
// events at most, and never more than a day), not per event. So:
//
//   - Place. An event carries the names of its thing and shadow and its seq. One that is missing,
//     twice there, swapped with another, or of another thing is named exactly.
//   - Damage. A store that keeps a checksum per event names the one that does not fit it.
//   - Alteration by somebody who also set the checksum right is always found, and located in its
//     segment. Within it the event is named if it gives itself away: it cannot be decoded, its
//     time steps back, its version does not follow, or a snapshot does not fit.
//   - An altered anchor is told from altered events, because the chain goes on from it
//     only if it is right. An altered head cannot be told from altered events of the last
//     segment, nor the oldest kept anchor from events of the segment after it.
//   - A log that was cut at its end together with its head, or written anew from some event on with
//     all its links, agrees with itself. Only heads exported before show it, or an audit file.
//   - An audit file has the link of each event, so there an alteration is located to the event.
//
// Events that have expired prove nothing any more: checking begins at the oldest anchor
// whose segment is kept. If of a day one class has expired and another is kept, then events between
// the holes are checked for place and time, not by their links; [Report].Unproven counts them.
package proof
