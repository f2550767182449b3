package store

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/twofold-iot/twofold/twin"
)

// Memory is the reference [Store]: maps under one lock, every read a scan. It is
// what the other stores are compared with, and a store for tests of the layers
// above. Nothing survives it, and it is never fenced or full.
type Memory struct {
	fenced chan struct{} // never closed

	mu      sync.Mutex
	closed  bool
	pos     Pos
	heads   map[twin.ThingName]twin.Head
	anchors map[twin.ThingName][]twin.Head
	shadows map[twin.ShadowKey]memoryShadow
	events  map[memoryEventKey][]memoryEvent
	groups  map[twin.ThingName]Groups
	feed    []FeedEntry
	records map[memoryRecordKey]twin.Record
	samples memorySamples
	expired memoryExpired
}

type memoryShadow struct {
	Shadow
	live bool
}

type memoryEventKey struct {
	class Class
	key   twin.ShadowKey
}

type memoryEvent struct {
	time  twin.Time
	bytes []byte
}

type memoryRecordKey struct {
	kind twin.RecordKind
	key  string
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		fenced:  make(chan struct{}),
		heads:   make(map[twin.ThingName]twin.Head),
		anchors: make(map[twin.ThingName][]twin.Head),
		shadows: make(map[twin.ShadowKey]memoryShadow),
		events:  make(map[memoryEventKey][]memoryEvent),
		groups:  make(map[twin.ThingName]Groups),
		records: make(map[memoryRecordKey]twin.Record),
	}
}

// enter takes the lock if the store can be used.
func (m *Memory) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &twin.Error{Kind: twin.KindUnavailable, Message: "the caller gave up", Err: err}
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return twin.NewError(twin.KindUnavailable, "the store is closed")
	}
	return nil
}

// Commit implements [Writer].
func (m *Memory) Commit(ctx context.Context, ms []Mutation) ([]Outcome, error) {
	if err := Check(ms); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	outcomes := make([]Outcome, len(ms))
	conflicted := make(map[twin.ThingName]bool)
	for i := range ms {
		thing := ms[i].Thing
		if conflicted[thing] || !m.expected(&ms[i]) {
			conflicted[thing] = thing != ""
			continue
		}
		m.apply(&ms[i])
		outcomes[i] = Committed
	}
	return outcomes, nil
}

func (m *Memory) expected(mu *Mutation) bool {
	if mu.Thing != "" && m.heads[mu.Thing].Seq != mu.Expect {
		return false
	}
	for _, w := range mu.Records {
		r, ok := m.records[memoryRecordKey{w.Kind, w.Key}]
		if !Expected(w.Expect, r.Revision, ok) {
			return false
		}
	}
	return true
}

func (m *Memory) apply(mu *Mutation) {
	m.pos++
	if mu.Thing != "" {
		event := bytes.Clone(mu.Event)
		key := twin.ShadowKey{Thing: mu.Thing, Shadow: mu.Shadow}
		before := m.heads[mu.Thing]
		m.groups[mu.Thing] = m.groups[mu.Thing].With(mu.Class.Group(), mu.Head.Time.Day(), before.Time.Day(), before.Seq != 0)
		m.heads[mu.Thing] = mu.Head
		if mu.Anchor.Seq != 0 {
			m.anchors[mu.Thing] = append(m.anchors[mu.Thing], mu.Anchor)
		}
		if mu.Doc != nil {
			m.shadows[key] = memoryShadow{Shadow{Doc: bytes.Clone(mu.Doc), Info: mu.Info}, mu.Live}
		}
		ek := memoryEventKey{mu.Class, key}
		m.events[ek] = append(m.events[ek], memoryEvent{mu.Head.Time, event})
		m.feed = append(m.feed, FeedEntry{Pos: m.pos, Event: event})
		m.note(mu.Class, mu.Head.Time.Day())
	}
	for _, w := range mu.Records {
		key := memoryRecordKey{w.Kind, w.Key}
		if w.Value == nil {
			delete(m.records, key)
			continue
		}
		m.records[key] = twin.Record{Kind: w.Kind, Key: w.Key, Value: bytes.Clone(w.Value), Revision: twin.Revision(m.pos)}
	}
}

// Heads implements [Reader].
func (m *Memory) Heads(ctx context.Context, things []twin.ThingName) ([]twin.Head, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	heads := make([]twin.Head, len(things))
	for i, t := range things {
		heads[i] = m.heads[t]
	}
	return heads, nil
}

// Shadows implements [Reader].
func (m *Memory) Shadows(ctx context.Context, keys []twin.ShadowKey) ([]Shadow, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	shadows := make([]Shadow, len(keys))
	for i, k := range keys {
		s := m.shadows[k].Shadow
		shadows[i] = Shadow{Doc: bytes.Clone(s.Doc), Info: s.Info}
	}
	return shadows, nil
}

// Things implements [Reader].
func (m *Memory) Things(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	if err := CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var things []twin.ThingName
	for k, s := range m.shadows {
		if s.live && k.Thing > after {
			things = append(things, k.Thing)
		}
	}
	slices.Sort(things)
	return first(slices.Compact(things), limit), nil
}

// NamedShadows implements [Reader].
func (m *Memory) NamedShadows(ctx context.Context, after twin.ShadowKey, limit int) ([]twin.ShadowKey, error) {
	if err := CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	order := func(a, b twin.ShadowKey) int {
		return cmp.Or(cmp.Compare(a.Thing, b.Thing), cmp.Compare(a.Shadow, b.Shadow))
	}
	var list []twin.ShadowKey
	for k, s := range m.shadows {
		if s.live && k.Shadow != "" && order(k, after) > 0 {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, order)
	return first(list, limit), nil
}

// ShadowNames implements [Reader].
func (m *Memory) ShadowNames(ctx context.Context, thing twin.ThingName, after twin.ShadowName, limit int) ([]twin.ShadowName, error) {
	if err := CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var names []twin.ShadowName
	for k, s := range m.shadows {
		if s.live && k.Thing == thing && k.Shadow > after {
			names = append(names, k.Shadow)
		}
	}
	slices.Sort(names)
	return first(names, limit), nil
}

// Events implements [Log].
func (m *Memory) Events(ctx context.Context, r EventRange) ([][]byte, error) {
	if err := CheckLimit(r.Limit); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	found, err := m.find(&ThingRange{
		Thing: r.Key.Thing, Kinds: []Kind{KindHistory}, From: r.From, To: r.To, Newest: r.Newest,
	}, &r.Key.Shadow)
	if err != nil {
		return nil, err
	}
	return first(found, r.Limit), nil
}

// Feed implements [Log].
func (m *Memory) Feed(ctx context.Context, after Pos, limit int) ([]FeedEntry, error) {
	if err := CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var entries []FeedEntry
	for _, e := range m.feed {
		if e.Pos > after {
			e.Event = bytes.Clone(e.Event)
			entries = append(entries, e)
		}
	}
	return first(entries, limit), nil
}

// Head implements [Log].
func (m *Memory) Head(ctx context.Context) (Pos, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	return m.pos, nil
}

// Record implements [Records].
func (m *Memory) Record(ctx context.Context, kind twin.RecordKind, key string) (twin.Record, bool, error) {
	if err := m.enter(ctx); err != nil {
		return twin.Record{}, false, err
	}
	defer m.mu.Unlock()
	r, ok := m.records[memoryRecordKey{kind, key}]
	r.Value = bytes.Clone(r.Value)
	return r, ok, nil
}

// ListRecords implements [Records].
func (m *Memory) ListRecords(ctx context.Context, r RecordRange) ([]twin.Record, error) {
	if err := CheckLimit(r.Limit); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var records []twin.Record
	for k, rec := range m.records {
		if k.kind == r.Kind && strings.HasPrefix(k.key, r.Prefix) && k.key > r.After {
			rec.Value = bytes.Clone(rec.Value)
			records = append(records, rec)
		}
	}
	slices.SortFunc(records, func(a, b twin.Record) int { return strings.Compare(a.Key, b.Key) })
	return first(records, r.Limit), nil
}

// Space implements [Store]: room without end.
func (m *Memory) Space() Space { return Space{FreeBytes: 1 << 62} }

// Fenced implements [Store].
func (m *Memory) Fenced() <-chan struct{} { return m.fenced }

// Fault implements [Store].
func (m *Memory) Fault() error { return nil }

// Close implements [Store].
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func first[T any](s []T, limit int) []T { return s[:min(len(s), limit)] }
