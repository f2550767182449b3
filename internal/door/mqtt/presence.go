package mqtt

import (
	"errors"
	"os"

	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
)

// Presence hears which clients are there. Its methods must not block.
type Presence interface {
	// Connected begins the visit of a client: its CONNECT was accepted.
	Connected(client string) Visit
}

// Visit is one connection of a client. One goroutine at a time calls its methods.
type Visit interface {
	// Uses says that the client publishes to a topic, or subscribes to a filter. It
	// comes again when the client goes from one topic to another and back.
	Uses(topic string)
	// Ended ends the visit and says why, in a few words.
	Ended(reason string)
}

// arrive begins the visit. The subscriptions of a session that goes on count as
// made.
func (c *conn) arrive() {
	if c.b.opts.Presence == nil {
		return
	}
	c.visit = c.b.opts.Presence.Connected(c.s.id)
	for _, filter := range c.s.filters() {
		c.visit.Uses(filter)
	}
}

func (c *conn) uses(topic string) {
	if c.visit != nil {
		c.visit.Uses(topic)
	}
}

// leave ends the visit. err is why reading ended.
func (c *conn) leave(err error) {
	if c.visit == nil {
		return
	}
	c.mu.Lock()
	closedFor := c.closedFor
	c.mu.Unlock()
	var broken *packet.Error
	reason := "connection lost"
	switch {
	case errors.Is(err, errGoodbye):
		reason = "client disconnected"
	case closedFor == packet.SessionTakenOver:
		reason = "taken over by another connection"
	case closedFor == packet.ServerShuttingDown:
		reason = "server stopped"
	case errors.As(err, &broken):
		reason = "protocol error: " + broken.Text
	case errors.Is(err, os.ErrDeadlineExceeded):
		reason = "keep-alive timeout"
	}
	c.visit.Ended(reason)
}

// filters returns the filters of the session's subscriptions.
func (s *session) filters() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	filters := make([]string, 0, len(s.subs))
	for f := range s.subs {
		filters = append(filters, f)
	}
	return filters
}
