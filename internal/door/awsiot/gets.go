package awsiot

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/twofold-iot/twofold/twin"
)

// getJob is one get by MQTT on its way to an answer.
//
// A read may wait for the disk or for a commit, so it must not run on the reader
// of a connection: it goes to a worker. All gets of a thing go to the same worker
// and are answered in the order in which they came. A get behind updates of the
// same thing that have no outcome yet is parked in [flights] first; it costs the
// device one commit and saves it from reading a state older than its own report.
//
// What is not promised, as on AWS: an update of somebody else that commits while
// the answer is on its way may be delivered before it. Versions tell.
//
// The packet is acknowledged when the answer has gone out. A get lost in a crash is
// then sent again by a client with a persistent session.
type getJob struct {
	topic Topic
	req   *twin.Request
	done  func(error)

	// Guarded by the stripe of the thing while parked.
	before   uint64 // waits for updates with a smaller ticket
	waitsFor int    // so many of them
}

// get answers a get request, from a worker.
func (d *Door) get(t Topic, req *twin.Request, done func(error)) {
	g := &getJob{topic: t, req: req, done: done}
	if err := d.gets.admit(); err != nil {
		d.finish(t, err, req, done)
		return
	}
	parked, ok := d.flights.beginGet(g)
	if !ok {
		d.finish(t, errThrottled, req, done)
		d.gets.leave()
		return
	}
	if !parked {
		d.gets.enqueue(g)
	}
}

// answer reads the shadow and publishes what it found.
func (d *Door) answer(ctx context.Context, g *getJob) {
	err := d.answerGet(ctx, g)
	d.flights.endRead(g.topic.Key.Thing)
	d.report(err, g.topic.Key)
	d.finish(g.topic, err, g.req, g.done)
}

func (d *Door) answerGet(ctx context.Context, g *getJob) error {
	accepted, ok := d.wanted(g.topic.With(Accepted))
	if !ok {
		if _, ok = d.wanted(g.topic.With(Rejected)); !ok {
			return nil
		}
	}
	s, err := d.read(ctx, g.topic.Key)
	if err != nil {
		return err
	}
	if accepted != "" {
		d.send(accepted, twin.AppendGet(nil, s, d.engine.Now(), g.req))
	}
	return nil
}

// read returns a shadow that exists.
func (d *Door) read(ctx context.Context, key twin.ShadowKey) (*twin.Shadow, error) {
	s, err := d.engine.Shadow(ctx, key)
	if err != nil {
		if ctx.Err() != nil {
			return nil, errStopping
		}
		return nil, err
	}
	if !s.Exists() {
		return nil, twin.ErrNoShadow(key)
	}
	return s, nil
}

// getPool is the bounded set of gets that wait, parked or queued, and the workers
// that answer them.
type getPool struct {
	door     *Door
	lanes    []*lane
	lenMax   int64
	waiting  atomic.Int64
	stopping atomic.Bool
	cancel   context.CancelFunc // of the reads
	workers  sync.WaitGroup
}

func newGetPool(d *Door) *getPool {
	ctx, cancel := context.WithCancel(context.Background())
	p := &getPool{door: d, lenMax: int64(d.opts.GetQueueLenMax), cancel: cancel}
	for range d.opts.GetWorkers {
		l := &lane{wake: make(chan struct{}, 1)}
		p.lanes = append(p.lanes, l)
		p.workers.Go(func() { p.work(ctx, l) })
	}
	return p
}

// admit counts a get in; every get that was admitted leaves once.
func (p *getPool) admit() error {
	if p.stopping.Load() {
		return errStopping
	}
	if p.waiting.Add(1) > p.lenMax {
		p.waiting.Add(-1)
		return errGetsFull
	}
	return nil
}

func (p *getPool) leave() { p.waiting.Add(-1) }

// enqueue hands a get to the worker of its thing.
func (p *getPool) enqueue(g *getJob) {
	l := p.lanes[p.door.flights.hash(g.topic.Key.Thing)/stripeCount%uint64(len(p.lanes))]
	if !l.push(g) {
		p.fail(g)
	}
}

// release enqueues gets that were parked.
func (p *getPool) release(gs []*getJob) {
	for _, g := range gs {
		p.enqueue(g)
	}
}

// fail answers a get that comes too late to be read.
func (p *getPool) fail(g *getJob) {
	defer p.leave()
	p.door.flights.endRead(g.topic.Key.Thing)
	p.door.finish(g.topic, errStopping, g.req, g.done)
}

func (p *getPool) work(ctx context.Context, l *lane) {
	for {
		gs, open := l.take()
		for _, g := range gs {
			p.door.answer(ctx, g)
			p.leave()
		}
		if len(gs) > 0 {
			continue
		}
		if !open {
			return
		}
		<-l.wake
	}
}

func (p *getPool) close() {
	p.stopping.Store(true)
	p.cancel()
	for _, g := range p.door.flights.takeParked() {
		p.fail(g)
	}
	for _, l := range p.lanes {
		l.close()
	}
	p.workers.Wait()
}

// lane is the queue of one worker; [getPool.admit] bounds it. The worker takes all
// that has queued at once.
type lane struct {
	wake chan struct{} // of capacity 1: there is something to take

	mu     sync.Mutex
	queue  []*getJob
	closed bool
}

// push is false once the lane is closed.
func (l *lane) push(g *getJob) bool {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false
	}
	l.queue = append(l.queue, g)
	l.mu.Unlock()
	l.signal()
	return true
}

func (l *lane) take() (gs []*getJob, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gs, l.queue = l.queue, nil
	return gs, !l.closed
}

func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
