// Package webhook sends committed events to addresses by HTTP POST, in order and at
// least once.
//
// A [Service] keeps webhooks as records. Each has one goroutine that reads the feed from
// the position that is durable in its record, so nothing is buffered, ingest is never
// waited for, and a restart goes on where it was. Before the first try of a batch its end
// is made durable: after a crash the same batch goes out with the same id. A batch that
// fails again and again becomes a [twin.DeadLetter], which names positions in the feed and
// no payload; if the list of those is full, the batch is tried for ever instead.
//
// Which addresses may be dialed is decided after the name is resolved, by [Guard].
package webhook
