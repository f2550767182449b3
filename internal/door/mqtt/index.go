package mqtt

import (
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// subscription is one topic filter of one session. It is never altered: another
// SUBSCRIBE makes a new one.
type subscription struct {
	s                 *session
	filter            string
	id                uint32 // Subscription Identifier, 0: none
	qos               byte
	noLocal           bool
	retainAsPublished bool
}

// index finds the subscriptions that match a topic. Filters without a wildcard,
// nearly all in a fleet, are in a map by topic; the others in a tree by level.
//
// Readers hold the read lock for the time of a look-up and take nothing else
// meanwhile. A tree that is copied on write was rejected: thousands of devices
// each subscribe "$aws/things/{thing}/shadow/get/+", and the level of the thing
// names would be copied for each.
type index struct {
	mu    sync.RWMutex
	exact map[string][]*subscription
	wild  node
	wilds int // subscriptions in wild
}

// node is one level of the wildcard tree.
type node struct {
	children map[string]*node
	plus     *node
	here     []*subscription // filters that end at this level
	rest     []*subscription // filters that go on with "#"
}

func (n *node) empty() bool {
	return len(n.children) == 0 && n.plus == nil && len(n.here) == 0 && len(n.rest) == 0
}

func isWild(filter string) bool { return strings.ContainsAny(filter, "+#") }

// add puts sub in the place of old, which may be nil.
func (x *index) add(sub, old *subscription) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old != nil {
		x.removeLocked(old)
	}
	if !isWild(sub.filter) {
		if x.exact == nil {
			x.exact = make(map[string][]*subscription)
		}
		x.exact[sub.filter] = append(x.exact[sub.filter], sub)
		return
	}
	n := &x.wild
	for level := range strings.SplitSeq(sub.filter, "/") {
		switch level {
		case "#":
			n.rest = append(n.rest, sub)
			x.wilds++
			return
		case "+":
			if n.plus == nil {
				n.plus = &node{}
			}
			n = n.plus
		default:
			next := n.children[level]
			if next == nil {
				if n.children == nil {
					n.children = make(map[string]*node)
				}
				next = &node{}
				n.children[strings.Clone(level)] = next
			}
			n = next
		}
	}
	n.here = append(n.here, sub)
	x.wilds++
}

func (x *index) remove(sub *subscription) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeLocked(sub)
}

func (x *index) removeLocked(sub *subscription) {
	if !isWild(sub.filter) {
		if list := without(x.exact[sub.filter], sub); len(list) > 0 {
			x.exact[sub.filter] = list
		} else {
			delete(x.exact, sub.filter)
		}
		return
	}
	x.wilds--
	x.wild.remove(sub.filter, sub)
}

// remove takes sub out below n and cuts off branches that are empty then. The
// depth of the recursion is bounded by packet.TopicLevelsMax.
func (n *node) remove(filter string, sub *subscription) {
	level, rest, more := strings.Cut(filter, "/")
	if level == "#" {
		n.rest = without(n.rest, sub)
		return
	}
	next := n.plus
	if level != "+" {
		next = n.children[level]
	}
	if next == nil {
		return
	}
	if more {
		next.remove(rest, sub)
	} else {
		next.here = without(next.here, sub)
	}
	if !next.empty() {
		return
	}
	if level == "+" {
		n.plus = nil
	} else {
		delete(n.children, level)
	}
}

func without(list []*subscription, sub *subscription) []*subscription {
	i := slices.Index(list, sub)
	if i < 0 {
		return list
	}
	return slices.Delete(list, i, i+1)
}

// wanted reports whether any subscription matches. It does not allocate.
func (x *index) wanted(topic string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(x.exact[topic]) > 0 {
		return true
	}
	return x.wilds > 0 && x.wild.any(topic, topic[:min(1, len(topic))] == "$")
}

// wantedBytes is wanted for a topic in bytes.
func (x *index) wantedBytes(topic []byte) bool {
	// The string lives for this call only and nobody keeps it.
	return x.wanted(unsafe.String(unsafe.SliceData(topic), len(topic)))
}

// any reports whether a filter below n matches the topic. reserved is set at the
// first level of a topic that begins with "$" [MQTT-4.7.2-1].
func (n *node) any(topic string, reserved bool) bool {
	if len(n.rest) > 0 && !reserved {
		return true
	}
	level, rest, more := strings.Cut(topic, "/")
	if n.plus != nil && !reserved && n.plus.anyBelow(rest, more) {
		return true
	}
	next := n.children[level]
	return next != nil && next.anyBelow(rest, more)
}

func (n *node) anyBelow(rest string, more bool) bool {
	if more {
		return n.any(rest, false)
	}
	// "sport/#" matches "sport" too, 4.7.1.2.
	return len(n.here) > 0 || len(n.rest) > 0
}

// match appends the subscriptions that match the topic to dst, and reports
// whether one session may be in there more than once.
func (x *index) match(dst []*subscription, topic string) (subs []*subscription, overlap bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	dst = append(dst, x.exact[topic]...)
	n := len(dst)
	if x.wilds > 0 {
		dst = x.wild.match(dst, topic, strings.HasPrefix(topic, "$"))
	}
	return dst, len(dst) > n && len(dst) > 1
}

func (n *node) match(dst []*subscription, topic string, reserved bool) []*subscription {
	if !reserved {
		dst = append(dst, n.rest...)
	}
	level, rest, more := strings.Cut(topic, "/")
	if n.plus != nil && !reserved {
		dst = n.plus.matchBelow(dst, rest, more)
	}
	if next := n.children[level]; next != nil {
		dst = next.matchBelow(dst, rest, more)
	}
	return dst
}

func (n *node) matchBelow(dst []*subscription, rest string, more bool) []*subscription {
	if more {
		return n.match(dst, rest, false)
	}
	dst = append(dst, n.here...)
	return append(dst, n.rest...)
}
