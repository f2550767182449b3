package engine

import (
	"sync"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/intent"
	"github.com/twofold-iot/twofold/twin"
)

// job is one piece of work of a committer: an update of a shadow, an event that is
// not of a shadow, or record writes that belong to no twin.
type job struct {
	update twin.Update
	done   func(twin.Result)

	entry     *twin.Entry // to be appended; update.Key names the thing
	entryDone func(twin.EntryResult)

	step *step // of the model of a thing; update.Key names the thing

	mark *mark // of intents; update.Key names the shadow

	mirror *mirrorJob // a document of the cloud; update names the shadow

	records     []twin.RecordWrite
	recordsDone func(error)

	// Set when the job is applied; reset when it has to be applied again.
	result   twin.Result
	outgoing twin.Outgoing
	mutation int     // index in the group's mutations, -1: none
	thing    *thing  // whose state it read or changed
	shadow   *shadow // that it changed
	doc      []byte  // the shadow's document after it
	original *job    // the job in flight that this one repeats

	computed expr.Map // after it, of a twin with a model
	stepped  stepped  // what the model has made of it
	// unchained says that the mutation is of records alone: it is no link of a chain.
	unchained bool
	note      *twin.Event // to be appended when it is settled, unless the queue is full

	intents *intent.List // after it, if it changes them

	appended   twin.Event       // of an entry
	attributes *twin.Attributes // of the thing after it, if it changes them

	attempts int
}

func (j *job) isUpdate() bool { return j.done != nil }

// ofThing reports whether the job needs the state of a thing.
func (j *job) ofThing() bool { return j.recordsDone == nil }

// chained reports whether the job has added to the chain of its thing.
func (j *job) chained() bool { return j.mutation >= 0 && j.thing != nil && !j.unchained }

func (j *job) answer() {
	switch {
	case j.isUpdate():
		j.done(j.result)
	case j.entryDone != nil:
		j.entryDone(twin.EntryResult{Event: j.appended, Written: j.mutation >= 0, Err: j.result.Err})
	case j.step != nil:
		if j.step.done != nil {
			j.step.done(j.result.Err)
		}
	case j.mark != nil:
		if j.mark.done != nil {
			j.mark.done(j.result.Err)
		}
	default:
		j.recordsDone(j.result.Err)
	}
}

func (j *job) reset() {
	j.result, j.outgoing, j.mutation = twin.Result{}, nil, -1
	j.thing, j.shadow, j.doc, j.original = nil, nil, nil, nil
	j.appended, j.attributes = twin.Event{}, nil
	j.computed, j.note, j.stepped, j.unchained, j.intents = nil, nil, stepped{}, false, nil
}

// queue is the bounded list of jobs of one committer. Any goroutine puts, the
// committer takes.
type queue struct {
	ready  chan struct{} // holds one token when there may be something to take
	lenMax int

	mu     sync.Mutex
	jobs   []*job
	closed bool
}

func newQueue(lenMax int) *queue {
	return &queue{ready: make(chan struct{}, 1), lenMax: lenMax}
}

var (
	errQueueFull = &twin.Error{
		Kind: twin.KindFull, Message: "Too many updates are waiting",
		Hint: "send more slowly, or raise engine.queue_len_max",
	}
	errStopping = twin.NewError(twin.KindUnavailable, "The server is stopping")
)

func (q *queue) put(j *job) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return errStopping
	}
	if len(q.jobs) >= q.lenMax {
		q.mu.Unlock()
		return errQueueFull
	}
	q.jobs = append(q.jobs, j)
	first := len(q.jobs) == 1
	q.mu.Unlock()
	if first {
		q.wake()
	}
	return nil
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take appends at most n jobs to dst, oldest first.
func (q *queue) take(dst []*job, n int) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.jobs))
	dst = append(dst, q.jobs[:n]...)
	rest := copy(q.jobs, q.jobs[n:])
	clear(q.jobs[rest:])
	q.jobs = q.jobs[:rest]
	return dst
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.wake()
}

// drained reports whether the queue is closed and empty.
func (q *queue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && len(q.jobs) == 0
}
