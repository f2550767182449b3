package mqtt

import "sync/atomic"

// counters are what a broker counts; see [Stats] for the meaning.
type counters struct {
	connects, takeovers, malformed, denied        atomic.Uint64
	published, delivered                          atomic.Uint64
	droppedQoS0, droppedFull, coalesced, tooLarge atomic.Uint64
	expired, lost, refused                        atomic.Uint64
	conns                                         atomic.Int64
	queuedBytes                                   atomic.Int64
}

// Stats are counts since the start, and sizes of now.
type Stats struct {
	Connects    uint64 // CONNECTs accepted
	Takeovers   uint64 // connections closed because their client id connected again
	Malformed   uint64 // connections closed for breaking the protocol
	Denied      uint64 // publishes refused
	Refused     uint64 // publishes that were allowed and could not be made durable, or found a queue full
	Published   uint64 // publishes taken from clients
	Delivered   uint64 // publishes sent to clients, repetitions included
	DroppedQoS0 uint64 // QoS 0 messages not sent because a client reads too slowly
	DroppedFull uint64 // QoS 1 messages not queued because a session's queue was full
	Coalesced   uint64 // queued deltas replaced by a newer delta of the same shadow
	TooLarge    uint64 // messages not sent because of a client's Maximum Packet Size [MQTT-3.1.2-24]
	Expired     uint64 // messages not sent because their expiry interval had passed
	Lost        uint64 // messages of wills and of the server that could not be recorded
	Conns       int    // connections now
	Sessions    int    // sessions now
	Retained    int    // retained messages now
	QueuedBytes int64  // bytes queued for all sessions now
}

// Stats returns the counts of now.
func (b *Broker) Stats() Stats {
	n := &b.count
	b.mu.Lock()
	sessions := len(b.sessions)
	b.mu.Unlock()
	return Stats{
		Connects: n.connects.Load(), Takeovers: n.takeovers.Load(), Malformed: n.malformed.Load(), Denied: n.denied.Load(), Refused: n.refused.Load(),
		Published: n.published.Load(), Delivered: n.delivered.Load(),
		DroppedQoS0: n.droppedQoS0.Load(), DroppedFull: n.droppedFull.Load(), Coalesced: n.coalesced.Load(),
		TooLarge: n.tooLarge.Load(), Expired: n.expired.Load(), Lost: n.lost.Load(),
		Conns: int(n.conns.Load()), Sessions: sessions, Retained: b.retained.len(), QueuedBytes: n.queuedBytes.Load(),
	}
}
