package engine

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/internal/clock"
	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// timers hold when the model of each thing wants to make a step by itself: one time for a
// thing, so that there are never more than things.
type timers struct {
	mu   sync.Mutex
	due  map[twin.ThingName]todo
	heap todoHeap // may hold times that count no more
	wake chan struct{}
	// slots bounds the steps that wait, so that they never fill the queue of updates.
	slots chan struct{}
}

type todo struct {
	thing twin.ThingName
	at    twin.Time
	fresh bool // all that the model reads is new
}

func newTimers() *timers {
	return &timers{due: make(map[twin.ThingName]todo), wake: make(chan struct{}, 1), slots: make(chan struct{}, stepsWaitingMax)}
}

// set asks for a step at a time; 0: for none.
func (t *timers) set(thing twin.ThingName, at twin.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch x, ok := t.due[thing]; {
	case ok && x.fresh:
	case at == 0:
		delete(t.due, thing)
	default:
		t.put(todo{thing: thing, at: at})
		t.tell()
	}
}

// renew asks for a step of each thing to which everything is new.
func (t *timers) renew(things []twin.ThingName, now twin.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, thing := range things {
		t.put(todo{thing: thing, at: now, fresh: true})
	}
	t.tell()
}

// put adds one; the lock is held.
func (t *timers) put(x todo) {
	t.due[x.thing] = x
	if len(t.heap) > 2*len(t.due)+1024 { // mostly times that count no more
		t.heap = t.heap[:0]
		for _, x := range t.due {
			t.heap = append(t.heap, x)
		}
		heap.Init(&t.heap)
	} else {
		heap.Push(&t.heap, x)
	}
}

// tell says that there may be something earlier.
func (t *timers) tell() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// again puts back one that could not be submitted.
func (t *timers) again(x todo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.due[x.thing]; !ok || x.fresh {
		t.put(x)
	}
}

// take returns a step that is due by the clock, or else how long it is to the next one;
// 0: there is none.
func (t *timers) take(clock func() time.Time) (x todo, ok bool, next time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.heap) > 0 {
		x := t.heap[0]
		if t.due[x.thing] != x {
			heap.Pop(&t.heap)
			continue
		}
		if now := twin.TimeOf(clock()); x.at > now {
			return todo{}, false, time.Duration(x.at-now) * time.Millisecond
		}
		heap.Pop(&t.heap)
		delete(t.due, x.thing)
		return x, true, 0
	}
	return todo{}, false, 0
}

const (
	timersLook  = time.Second // the clock is looked at so often, as it may be set
	timersRetry = 20 * time.Millisecond

	stepsWaitingMax = 256
)

// runTimers submits steps when they are due, until ctx ends.
func (e *Engine) runTimers(ctx context.Context) {
	for {
		wait := e.stepDue()
		timer := time.NewTimer(clock.Real(wait, e.opts.Speed))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-e.timers.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// stepDue submits the steps that are due, and returns how long there is nothing to do.
func (e *Engine) stepDue() time.Duration {
	for {
		select {
		case e.timers.slots <- struct{}{}:
		default:
			return timersLook // until one is done
		}
		x, ok, next := e.timers.take(e.opts.Now)
		switch {
		case ok:
			s := step{changed: []expr.Path{}, done: func(err error) { e.stepDone(x, err) }}
			if x.fresh {
				s.changed = nil
			}
			if e.submitStep(x.thing, twin.Origin{}, s) != nil { // a full queue, or the end
				<-e.timers.slots
				e.timers.again(x)
				return timersRetry
			}
		case next == 0:
			<-e.timers.slots
			return timersLook
		default:
			<-e.timers.slots
			return min(timersLook, next)
		}
	}
}

// stepDone makes room for another step; one that could not be made is tried again later.
func (e *Engine) stepDone(x todo, err error) {
	if err != nil {
		x.at = twin.TimeOf(e.opts.Now()) + twin.Time(timersLook/time.Millisecond)
		e.timers.again(x)
	}
	<-e.timers.slots
	e.timers.tell()
}

// todoHeap is a heap by time.
type todoHeap []todo

func (h todoHeap) Len() int           { return len(h) }
func (h todoHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h todoHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *todoHeap) Push(x any) { *h = append(*h, x.(todo)) }

// Pop implements [heap.Interface].
func (h *todoHeap) Pop() any {
	n := len(*h) - 1
	x := (*h)[n]
	*h = (*h)[:n]
	return x
}
