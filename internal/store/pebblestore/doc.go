// Package pebblestore is the embedded store: a folder on one machine, kept by
// Pebble, a log-structured merge tree. It alone names Pebble.
//
// [Open] gives a [Store]. Its commits go through three stages, each one goroutine:
//
//	Commit ─▶ apply: check what is expected, give positions, ─▶ sync: wait for the ─▶ Commit returns
//	          build one batch, put it in the log                fsync, move the
//	                                                            durable position
//
// So commits overlap: the next is built while the last is synced, and one fsync
// covers several. Pebble shows a batch to readers before it is synced; every value
// therefore carries the position of its write, and a reader that meets one beyond
// the durable position waits for it.
//
// After the first failed write or sync the store is fenced (see fence.go): it
// touches nothing any more and the process has to be started anew. The keys and
// the bytes are in docs/format/store.md.
package pebblestore
