package engine

import (
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/internal/clock"
	"github.com/twofold-iot/twofold/internal/intent"
	"github.com/twofold-iot/twofold/twin"
)

// mark is a job that brings intents on without an update: a device has taken what is asked, or
// says something of it.
type mark struct {
	step func(l *intent.List, now twin.Time) (*intent.List, []intent.Event, error)
	done func(error) // nil: nobody waits
}

// follow brings the intents of a shadow on by a change, in its commit.
func (c *committer) follow(g *group, j *job, s *shadow, change *twin.Change) {
	if !c.engine.opts.Intents || s.intents.Oldest() == nil && !asks(change) {
		return
	}
	o := &j.update.Origin
	m := intent.Move{
		Change: change, By: whoOf(o), Withdraw: j.update.Withdraw, ExpiresIn: j.update.ExpiresIn,
		Device: o.Door == twin.DoorMQTT && o.Session == string(j.update.Key.Thing),
	}
	if asks(change) {
		m.Delta = change.Current.Delta()
		if md, _ := c.modelOf(j.thing); md != nil && s.name == "" {
			m.Delta = md.Drift(change.Current)
		}
	}
	next, events := s.intents.Step(&m)
	if next != s.intents {
		c.keepIntents(g, j, s, next, events, change.Time)
	}
}

// asks reports whether a change touches desired.
func asks(change *twin.Change) bool {
	touched := false
	all := !change.Request.Touches(func(section, _ string) { touched = touched || section == "desired" })
	return touched || all
}

// whoOf is who asked, as it is shown.
func whoOf(o *twin.Origin) string {
	if o.Door == 0 {
		return ""
	}
	return o.Door.String() + " " + o.Session
}

// keepIntents adds what intents have come to, and what happened to them, to the group.
func (c *committer) keepIntents(g *group, j *job, s *shadow, next *intent.List, events []intent.Event, now twin.Time) {
	next = c.engine.intents.count(j.update.Key, s.intents, next)
	for i := range events {
		e := &events[i]
		ev := twin.Event{
			Thing: j.thing.name, Shadow: s.name, Seq: j.thing.head.Seq + 1, Kind: twin.EventIntent, Type: e.Type, Severity: e.Severity,
			Message: cut(e.Message), Correlation: fmt.Sprintf("v%d", e.Version), Data: e.Data, Time: now, Model: j.thing.attributes.Model, Origin: j.update.Origin,
		}
		ev.Origin.PacketID = 0
		g.bytes += len(c.link(g, j, &ev).Event)
	}
	w := twin.RecordWrite{Kind: twin.RecordIntents, Key: intent.Key(j.update.Key)}
	if !next.Empty() {
		w.Value = next.Encode()
	}
	g.bytes += len(w.Key) + len(w.Value)
	m := &g.mutations[j.mutation]
	m.Records = append(m.Records, w)
	s.intents, j.intents = next, next
}

// mark brings intents on without an update.
func (c *committer) mark(g *group, j *job) {
	s, now := j.thing.find(j.update.Key.Shadow), c.engine.commitTime()
	next, events, err := j.mark.step(s.intents, now)
	if err != nil {
		j.result.Err = err
		return
	}
	if next != s.intents { // then there is an event
		c.keepIntents(g, j, s, next, events, now)
	}
}

// withdrawal makes the request of an update that takes an intent back.
func withdrawal(u *twin.Update, s *shadow) error {
	i := s.intents.Find(u.Withdraw.Version)
	if i == nil {
		return twin.NewError(twin.KindNotFound, fmt.Sprintf("No intent v%d of %s is open", u.Withdraw.Version, u.Key))
	}
	req, err := twin.ParseRequest(i.Withdrawal(s.tree.Desired), twin.Limits{})
	u.Request = req
	return err
}

// IntentDelivered notes that a client has taken a message with all that is asked of a thing up
// to a version; delta says that it was a delta.
func (e *Engine) IntentDelivered(key twin.ShadowKey, v twin.Version, client string, delta bool, done func(error)) error {
	waiting := false
	if l := e.intents.of(key); l != nil {
		waiting = slices.ContainsFunc(l.Open, func(i intent.Intent) bool { return i.Version <= v && i.Delivered == 0 })
	}
	sent := 0
	if delta {
		sent = 1
	}
	if !waiting {
		// That it has come again is counted, and kept with the next step.
		if delta {
			e.intents.sent(key, v)
		}
		if done != nil {
			done(nil)
		}
		return nil
	}
	return e.submitMark(key, twin.Origin{Door: twin.DoorMQTT, Session: client}, mark{done: done, step: func(l *intent.List, now twin.Time) (*intent.List, []intent.Event, error) {
		next, events := l.Deliver(v, client, sent, now)
		return next, events, nil
	}})
}

// IntentAnswered notes what a device says of an intent; done gets an error of kind NotFound if
// it is not open.
func (e *Engine) IntentAnswered(key twin.ShadowKey, v twin.Version, status, message string, o twin.Origin, done func(error)) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return e.submitMark(key, o, mark{done: done, step: func(l *intent.List, now twin.Time) (*intent.List, []intent.Event, error) {
		return l.Reply(v, &intent.Answer{Status: status, Message: message, Time: now})
	}})
}

func (e *Engine) submitMark(key twin.ShadowKey, o twin.Origin, m mark) error {
	j := &job{update: twin.Update{Key: key, Origin: o}, mark: &m, mutation: -1}
	return e.committer(key.Thing.Shard()).queue.put(j)
}

// Intents returns what is durably asked of a thing by a shadow, nil if nothing ever was. It is
// not to be altered.
func (e *Engine) Intents(key twin.ShadowKey) *intent.List { return e.intents.shown(key) }

// intentTable holds what is durably asked of things.
type intentTable struct {
	mu sync.RWMutex
	m  map[twin.ShadowKey]*intent.List
	// more counts messages that came again, by version; they are kept with the next step.
	more map[twin.ShadowKey]map[twin.Version]int
	due  expiries
	// timed are those in due that are not to be tried again.
	timed map[expiry]bool
	wake  chan struct{}
}

func newIntentTable() *intentTable {
	return &intentTable{
		m: make(map[twin.ShadowKey]*intent.List), more: make(map[twin.ShadowKey]map[twin.Version]int), timed: make(map[expiry]bool), wake: make(chan struct{}, 1),
	}
}

func (t *intentTable) of(key twin.ShadowKey) *intent.List {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[key]
}

// shown is what there is, with what has been counted since.
func (t *intentTable) shown(key twin.ShadowKey) *intent.List {
	t.mu.RLock()
	defer t.mu.RUnlock()
	l, more := t.m[key], t.more[key]
	if l == nil || len(more) == 0 {
		return l
	}
	return counted(l, more)
}

func counted(l *intent.List, more map[twin.Version]int) *intent.List {
	next := &intent.List{Open: slices.Clone(l.Open), Last: l.Last}
	for i := range next.Open {
		next.Open[i].Sent += more[next.Open[i].Version]
	}
	return next
}

// sent counts a message with all that is asked up to a version.
func (t *intentTable) sent(key twin.ShadowKey, v twin.Version) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.m[key]
	if l == nil {
		return
	}
	for i := range l.Open {
		if at := l.Open[i].Version; at <= v {
			if t.more[key] == nil {
				t.more[key] = make(map[twin.Version]int)
			}
			t.more[key][at]++
		}
	}
}

// count adds what was counted of intents that are open still, or have just ended, to a list
// that is to be kept.
func (t *intentTable) count(key twin.ShadowKey, before, next *intent.List) *intent.List {
	t.mu.RLock()
	defer t.mu.RUnlock()
	more := t.more[key]
	if len(more) == 0 {
		return next
	}
	out := counted(next, more)
	if next.Last != nil && before != nil && next.Last != before.Last {
		last := *next.Last
		last.Sent += more[last.Version]
		out.Last = &last
	}
	return out
}

// set makes a list visible when it is durable.
func (t *intentTable) set(key twin.ShadowKey, l *intent.List) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.more, key)
	if l.Empty() {
		delete(t.m, key)
		return
	}
	t.m[key] = l
	for i := range l.Open {
		if x := &l.Open[i]; x.Expires != 0 {
			t.expire(key, x)
		}
	}
}

// expire asks for an intent to be taken back in time; the lock is held.
func (t *intentTable) expire(key twin.ShadowKey, i *intent.Intent) {
	x := expiry{key, i.Version, i.Expires}
	if t.timed[x] {
		return
	}
	t.timed[x] = true
	heap.Push(&t.due, x)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// expiry is when an intent is to be taken back.
type expiry struct {
	key     twin.ShadowKey
	version twin.Version
	at      twin.Time
}

// expiries are ordered by time, for container/heap.
type expiries []expiry

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].at < h[j].at }
func (h expiries) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiries) Push(x any)        { *h = append(*h, x.(expiry)) }
func (h *expiries) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

const (
	// expiriesMax is how many intents are taken back at a time.
	expiriesMax = 256
	// expiryRetry is when what there was no room for is tried again.
	expiryRetry = time.Second
)

// next takes out those that are due, and says when there is more to do; 0: not known.
func (t *intentTable) next(now twin.Time) (due []expiry, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.due) > 0 && len(due) < expiriesMax {
		if left := t.due[0].at - now; left > 0 {
			return due, time.Duration(left) * time.Millisecond
		}
		x := heap.Pop(&t.due).(expiry)
		delete(t.timed, x)
		if t.m[x.key].Find(x.version) != nil {
			due = append(due, x)
		}
	}
	if len(t.due) > 0 {
		return due, time.Millisecond
	}
	return due, 0
}

// again puts back one that could not be submitted.
func (t *intentTable) again(x expiry, now twin.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x.at = now + twin.Time(expiryRetry.Milliseconds())
	heap.Push(&t.due, x)
}

// runExpiry takes back what is not asked for any more.
func (e *Engine) runExpiry(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.intents.wake:
		case <-t.C:
		}
		if wait := e.expireDue(); wait > 0 {
			t.Reset(clock.Real(wait, e.opts.Speed))
		}
	}
}

// expireDue submits the withdrawal of what is due, and says when there is more to do; 0: not
// known.
func (e *Engine) expireDue() time.Duration {
	now := twin.TimeOf(e.opts.Now())
	due, wait := e.intents.next(now)
	for _, x := range due {
		e.takeBack(x, now)
	}
	return wait
}

func (e *Engine) takeBack(x expiry, now twin.Time) {
	err := e.Submit(twin.Update{
		Key: x.key, Withdraw: &twin.Withdrawal{Version: x.version, Expired: true, Reason: "its time is over"},
	}, func(r twin.Result) {
		if r.Err == nil {
			return
		}
		switch twin.Kind(r.Err) {
		case twin.KindNotFound: // it has ended in the meantime
		case twin.KindFull, twin.KindUnavailable:
			e.intents.again(x, twin.TimeOf(e.opts.Now()))
		default:
			e.log.LogAttrs(context.Background(), slog.LevelError, "an intent could not be taken back when its time was over",
				slog.String("shadow", x.key.String()), slog.Uint64("version", uint64(x.version)), slog.String("error", r.Err.Error()))
		}
	})
	if err != nil {
		e.intents.again(x, now)
	}
}

func (e *Engine) loadIntents() error {
	for after := ""; ; {
		page, err := e.Records(context.Background(), twin.RecordIntents, "", after, attributesPage)
		if err != nil {
			return fmt.Errorf("read the intents: %w", err)
		}
		for _, r := range page {
			l, err := intent.Decode(r.Value)
			if err != nil {
				return fmt.Errorf("of %s: %w", r.Key, err)
			}
			e.intents.set(intent.KeyOf(r.Key), l)
			after = r.Key
		}
		if len(page) < attributesPage {
			return nil
		}
	}
}
