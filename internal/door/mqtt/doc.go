// Package mqtt is the MQTT door: protocol 3.1.1 and 5 over TCP, TLS and WebSocket,
// sessions, subscriptions, retained messages, wills, QoS 0 and 1.
//
// [Broker] is the whole of it. Messages on reserved topics ("$…") go to a
// [Handler], which acknowledges when the change is durable; messages between
// clients are routed. What has to outlive the process is kept by [Records].
//
// The way of a publish, and where to read:
//
//	conn.go      one goroutine per connection reads packets
//	publish.go   checks, topic alias, may the client?, repetitions of QoS 1
//	route.go     Handler, or the subscribers (index.go) and the retained set (retained.go)
//	queue.go     the queue of each session, and what is in flight to its client
//	output.go    PUBACKs in order, gathered writes
//	session.go   connect, takeover, end, wills; records.go what is kept; janitor.go time
//
// Promises: PUBACK means durable, or that nothing had to be; PUBACKs and messages
// keep their order; a queued message survives a crash from the commit that caused
// it; nobody waits for a slow client; what is dropped is counted in [Stats].
//
// Not here: QoS 2 (a version 5 client is told; one of 3.1.1 that publishes with it is
// closed, and no subscription is granted more than 1) and shared subscriptions
// (refused). A will is lost when the process is killed, as it is with most brokers;
// [Broker.Close] publishes the wills of those who are connected.
package mqtt
