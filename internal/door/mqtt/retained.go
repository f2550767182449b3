package mqtt

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// RetainedMessage is the retained message of a topic.
type RetainedMessage struct {
	twin.Message
	Modified twin.Time
}

// retained is a retained message in memory; no payload: it deletes the one there
// is.
type retained struct {
	message
	modified twin.Time
}

func (r *retained) record() twin.RecordWrite {
	w := twin.RecordWrite{Kind: twin.RecordRetained, Key: r.Topic}
	if len(r.Payload) > 0 {
		w.Value = appendRetained(nil, r)
	}
	return w
}

// retainedSet holds the retained messages: by topic, and in a tree by level, so that
// a device that subscribes with a wildcard below its own name does not look at
// those of the whole fleet.
type retainedSet struct {
	mu    sync.RWMutex
	m     map[string]*retained
	tree  retainedNode
	bytes int64
}

// retainedNode is one level of topic names.
type retainedNode struct {
	children map[string]*retainedNode
	here     *retained
}

// put sets or, with nil, deletes the message of a topic below n. The depth of the
// recursion is bounded by packet.TopicLevelsMax.
func (n *retainedNode) put(topic string, r *retained) {
	level, rest, more := strings.Cut(topic, "/")
	next := n.children[level]
	if next == nil {
		if r == nil {
			return
		}
		if n.children == nil {
			n.children = make(map[string]*retainedNode)
		}
		next = &retainedNode{}
		n.children[level] = next
	}
	if more {
		next.put(rest, r)
	} else {
		next.here = r
	}
	if next.here == nil && len(next.children) == 0 {
		delete(n.children, level)
	}
}

// match appends the messages below n that match the filter. Topics that begin with
// "$" are never retained, so [MQTT-4.7.2-1] needs no thought here.
func (n *retainedNode) match(dst []*retained, filter string) []*retained {
	level, rest, more := strings.Cut(filter, "/")
	switch level {
	case "#":
		return n.all(dst)
	case "+":
		for _, next := range n.children {
			dst = next.matchBelow(dst, rest, more)
		}
	default:
		if next := n.children[level]; next != nil {
			dst = next.matchBelow(dst, rest, more)
		}
	}
	return dst
}

func (n *retainedNode) matchBelow(dst []*retained, rest string, more bool) []*retained {
	if more {
		if rest == "#" && n.here != nil {
			dst = append(dst, n.here) // "sport/#" matches "sport" too
		}
		return n.match(dst, rest)
	}
	if n.here != nil {
		dst = append(dst, n.here)
	}
	return dst
}

func (n *retainedNode) all(dst []*retained) []*retained {
	for _, next := range n.children {
		if next.here != nil {
			dst = append(dst, next.here)
		}
		dst = next.all(dst)
	}
	return dst
}

// newRetained prepares a message to be retained, within the limits.
func (b *Broker) newRetained(m *twin.Message) (*retained, error) {
	now := b.opts.Now()
	r := &retained{message: message{Message: *m}, modified: twin.TimeOf(now)}
	if p := m.Properties; p != nil && p.ExpirySeconds != 0 {
		r.expiresAt = twin.TimeOf(now.Add(time.Duration(p.ExpirySeconds) * time.Second))
	}
	if len(m.Payload) == 0 {
		return r, nil // [MQTT-3.3.1-6]
	}
	x := &b.retained
	x.mu.RLock()
	defer x.mu.RUnlock()
	size, count := int64(r.size()), 1
	if old := x.m[m.Topic]; old != nil {
		size, count = size-int64(old.size()), 0
	}
	if len(x.m)+count > b.opts.RetainedMax || x.bytes+size > b.opts.RetainedBytesMax {
		return nil, twin.NewError(twin.KindFull, "Too many retained messages")
	}
	return r, nil
}

// set replaces [MQTT-3.3.1-5] or deletes [MQTT-3.3.1-6] what is retained.
func (x *retainedSet) set(r *retained) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old := x.m[r.Topic]; old != nil {
		x.bytes -= int64(old.size())
		delete(x.m, r.Topic)
		x.tree.put(r.Topic, nil)
	}
	if len(r.Payload) == 0 {
		return // [MQTT-3.3.1-7]
	}
	if x.m == nil {
		x.m = make(map[string]*retained)
	}
	x.m[r.Topic] = r
	x.tree.put(r.Topic, r)
	x.bytes += int64(r.size())
}

func (x *retainedSet) len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.m)
}

// match returns the retained messages of a filter in topic order.
func (x *retainedSet) match(filter string) []*retained {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if !isWild(filter) {
		if r := x.m[filter]; r != nil {
			return []*retained{r}
		}
		return nil
	}
	list := x.tree.match(nil, filter)
	slices.SortFunc(list, func(a, b *retained) int { return strings.Compare(a.Topic, b.Topic) })
	return list
}

// Retained returns the retained message of a topic.
func (b *Broker) Retained(topic string) (RetainedMessage, bool) {
	x := &b.retained
	x.mu.RLock()
	defer x.mu.RUnlock()
	r := x.m[topic]
	if r == nil || r.expired(b.opts.Now()) {
		return RetainedMessage{}, false
	}
	return RetainedMessage{r.Message, r.modified}, true
}

// ListRetained lists retained messages by topic, greater than after.
func (b *Broker) ListRetained(after string, limit int) []RetainedMessage {
	x := &b.retained
	now := b.opts.Now()
	x.mu.RLock()
	list := make([]RetainedMessage, 0, min(limit, len(x.m)))
	topics := make([]string, 0, len(x.m))
	for topic, r := range x.m {
		if topic > after && !r.expired(now) {
			topics = append(topics, topic)
		}
	}
	slices.Sort(topics)
	for _, topic := range topics[:min(limit, len(topics))] {
		r := x.m[topic]
		list = append(list, RetainedMessage{r.Message, r.modified})
	}
	x.mu.RUnlock()
	return list
}

func (r *retained) expired(now time.Time) bool {
	return r.expiresAt != 0 && twin.TimeOf(now) >= r.expiresAt
}
