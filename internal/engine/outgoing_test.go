package engine_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// journal is a publisher that writes down what it is asked to send.
type journal struct {
	mu        sync.Mutex
	staged    int
	delivered []string
}

type outgoing struct {
	journal *journal
	name    string
}

func (j *journal) Stage(c *twin.Change) twin.Outgoing {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.staged++
	return &outgoing{j, fmt.Sprintf("%s@%d", c.Key, c.Version)}
}

func (o *outgoing) Records() []twin.RecordWrite {
	return []twin.RecordWrite{{Kind: twin.RecordQueued, Key: o.name, Value: []byte("queued")}}
}

func (o *outgoing) Deliver() {
	o.journal.mu.Lock()
	defer o.journal.mu.Unlock()
	o.journal.delivered = append(o.journal.delivered, o.name)
}

func (j *journal) sent() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.delivered)
}

// Messages leave after the commit, in version order, once; their queue entries are
// in the commit.
func TestEngine_outgoing(t *testing.T) {
	j := &journal{}
	g := newGated(store.NewMemory())
	e := openEngine(t, g, engine.Options{Publisher: j, Committers: 1})
	a := submit(t, e, update(t, "a", one))
	ms := await(t, g.arrived)
	if len(ms) != 1 || len(ms[0].Records) != 1 || ms[0].Records[0].Key != "a@1" {
		t.Fatalf("mutations %+v, want the queue entry in the commit", ms)
	}
	b := submit(t, e, update(t, "a", two))
	if got := j.sent(); len(got) > 0 {
		t.Fatalf("sent %v before the commit", got)
	}
	g.decide(t, lostRequest) // both are staged again
	g.openGate(t)
	await(t, a)
	await(t, b)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := j.sent(), []string{"a@1", "a@2"}; !slices.Equal(got, want) {
		t.Fatalf("sent %v, want %v", got, want)
	}
	if j.staged < 3 {
		t.Errorf("staged %d times: the lost attempt was not staged again", j.staged)
	}
}

// A commit that fails sends nothing.
func TestEngine_outgoing_refused(t *testing.T) {
	j := &journal{}
	g := newGated(store.NewMemory())
	e := openEngine(t, g, engine.Options{Publisher: j})
	ch := submit(t, e, update(t, "a", one))
	g.one(t, verdict{err: twin.NewError(twin.KindFull, "The disk is full")})
	if r := await(t, ch); twin.Kind(r.Err) != twin.KindFull {
		t.Fatalf("%+v", r)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if got := j.sent(); len(got) > 0 {
		t.Fatalf("sent %v for an update that was refused", got)
	}
	rs, err := e.Records(context.Background(), twin.RecordQueued, "", "", 10)
	if err != nil || len(rs) > 0 {
		t.Fatalf("records %v, %v", rs, err)
	}
}
