package mqtt

import (
	"container/heap"
	"log/slog"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

const (
	forgetDelay = 50 * time.Millisecond  // records of acknowledged messages are removed together
	forgetBatch = 1024                   // at most so many in one write
	forgetRetry = 500 * time.Millisecond // after a write was refused
)

// janitor is the broker's only housekeeper: it removes the records of messages
// that were acknowledged (later and in batches: a repetition after a crash is
// allowed by QoS 1), and ends sessions and publishes delayed wills when their time
// has come.
type janitor struct {
	b *Broker

	mu      sync.Mutex
	pending []twin.RecordWrite
	times   timeHeap
	flushAt time.Time
	wake    chan struct{} // capacity 1
	stop    chan struct{}
	done    chan struct{}
	writes  sync.WaitGroup
}

// timeHeap is sessions by when to look at them; each is in it once at most.
type timeHeap []*session

func (h timeHeap) Len() int           { return len(h) }
func (h timeHeap) Less(i, j int) bool { return h[i].lookAt.Before(h[j].lookAt) }
func (h timeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

func (h *timeHeap) Push(x any) {
	s := x.(*session)
	*h = append(*h, s)
	s.place = len(*h)
}

func (h *timeHeap) Pop() any {
	old := *h
	n := len(old) - 1
	s := old[n]
	old[n] = nil
	*h = old[:n]
	s.place = 0
	return s
}

func (j *janitor) init(b *Broker) {
	j.b = b
	j.wake, j.stop, j.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
}

// forget removes the records of an entry some time.
func (j *janitor) forget(client string, e *entry) {
	if e.num == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = e.appendDeletes(j.pending, client)
	j.pendingLocked()
}

func (j *janitor) remove(w twin.RecordWrite) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = append(j.pending, w)
	j.pendingLocked()
}

func (j *janitor) pendingLocked() {
	if j.flushAt.IsZero() {
		j.flushAt = time.Now().Add(forgetDelay)
		j.nudge()
	}
}

// schedule looks at a session without connection when its time comes. The caller
// holds s.mu, or is alone.
func (j *janitor) schedule(s *session) {
	at := s.endsAt
	if s.will != nil && s.willAt.Before(at) {
		at = s.willAt
	}
	j.at(s, at)
}

func (j *janitor) at(s *session, at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.lookAt = at
	if s.place > 0 {
		heap.Fix(&j.times, s.place-1)
	} else {
		heap.Push(&j.times, s)
	}
	if j.times[0] == s {
		j.nudge()
	}
}

// cancel forgets a session that has a connection again, or has ended.
func (j *janitor) cancel(s *session) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.place > 0 {
		heap.Remove(&j.times, s.place-1)
	}
}

func (j *janitor) nudge() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func (j *janitor) run() {
	defer close(j.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(j.work(time.Now()))
		select {
		case <-j.wake:
		case <-timer.C:
		case <-j.stop:
			j.flush(true)
			j.writes.Wait()
			return
		}
	}
}

// work does what is due and returns how long there is nothing to do.
func (j *janitor) work(now time.Time) time.Duration {
	for {
		j.mu.Lock()
		if len(j.times) == 0 || j.times[0].lookAt.After(now) {
			j.mu.Unlock()
			break
		}
		s := heap.Pop(&j.times).(*session)
		j.mu.Unlock()
		j.b.due(s, now)
	}
	j.mu.Lock()
	due := !j.flushAt.IsZero() && !j.flushAt.After(now)
	j.mu.Unlock()
	if due {
		j.flush(false)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	wait := time.Hour
	if len(j.times) > 0 {
		wait = min(wait, j.times[0].lookAt.Sub(now))
	}
	if !j.flushAt.IsZero() {
		wait = min(wait, j.flushAt.Sub(now))
	}
	return max(wait, time.Millisecond)
}

// flush writes the removals. Those that were refused are tried again, but not at the
// end: they are found at the next start.
func (j *janitor) flush(last bool) {
	j.mu.Lock()
	list := j.pending
	j.pending, j.flushAt = nil, time.Time{}
	j.mu.Unlock()
	for len(list) > 0 {
		batch := list[:min(len(list), forgetBatch)]
		list = list[len(batch):]
		j.writes.Add(1)
		j.b.write("mqtt-janitor", batch, func(err error) {
			defer j.writes.Done()
			if err == nil {
				return
			}
			if last || twin.Kind(err) != twin.KindFull {
				j.b.log.Warn("mqtt records not removed", slog.Int("records", len(batch)), slog.Any("error", err))
				return
			}
			j.mu.Lock()
			j.pending = append(j.pending, batch...)
			j.flushAt = time.Now().Add(forgetRetry)
			j.mu.Unlock()
			j.nudge()
		})
	}
}
