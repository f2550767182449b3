package awsiot

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/twofold-iot/twofold/twin"
)

// Options tune a Door; the zero value works.
type Options struct {
	// PayloadBytesMax is the longest payload of an MQTT request and of an HTTP body;
	// 131072, the limit of AWS.
	PayloadBytesMax int
	// InFlightMax is how many requests of one thing may be unanswered; one more is
	// throttled (429). 0: no limit. AWS has 10.
	InFlightMax int
	// GetWorkers is how many gets by MQTT read at the same time; 4.
	GetWorkers int
	// GetQueueLenMax is how many gets by MQTT may wait; one more is rejected (503).
	// 16384.
	GetQueueLenMax int
	// NewID makes the request id of an HTTP answer; a random UUID.
	NewID func() string
}

func (o Options) withDefaults() Options {
	if o.PayloadBytesMax == 0 {
		o.PayloadBytesMax = 128 << 10
	}
	if o.GetWorkers == 0 {
		o.GetWorkers = 4
	}
	if o.GetQueueLenMax == 0 {
		o.GetQueueLenMax = 16384
	}
	if o.NewID == nil {
		o.NewID = newUUID
	}
	return o
}

// Validate names every option that cannot work.
func (o Options) Validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"PayloadBytesMax", o.PayloadBytesMax},
		{"InFlightMax", o.InFlightMax},
		{"GetWorkers", o.GetWorkers},
		{"GetQueueLenMax", o.GetQueueLenMax},
	} {
		if f.value < 0 {
			return fmt.Errorf("awsiot: option %s is %d: use 0 for the default or a positive number", f.name, f.value)
		}
	}
	return nil
}

// Door is the AWS contract on top of an engine and a broker.
//
// The engine needs a publisher, the broker a handler and this door both of them,
// so it is made first and connected when the others stand.
type Door struct {
	log     *slog.Logger
	opts    Options
	flights *flights
	scratch sync.Pool // of *stage

	// Set once by Connect, before the first request.
	engine   Engine
	broker   Broker
	retained Retained
	limits   twin.Limits
	jobs     JobService // nil: there are none
	fleet    Fleet      // nil: there is no index
	registry Registry
	typing   sync.Mutex                                  // held while a thing type is changed
	expand   func(*http.Request, *twin.JobRequest) error // see ConnectJobs

	gets *getPool
}

// New returns a door. Nothing runs before [Door.Connect].
func New(log *slog.Logger, opts Options) (*Door, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	d := &Door{log: log, opts: opts.withDefaults(), flights: newFlights(opts.InFlightMax)}
	d.scratch.New = func() any { return new(stage) }
	return d, nil
}

// Connect gives the door what it works on and starts its workers. It is called
// once, before the broker or an HTTP server may hand in a request and before the
// first update is submitted.
func (d *Door) Connect(e Engine, b Broker, r Retained) {
	d.engine, d.broker, d.retained, d.limits = e, b, r, e.Limits()
	d.gets = newGetPool(d)
}

// ConnectJobs gives the HTTP planes their jobs. expand, if not nil, fills in what the
// document of a new job names by placeholders. It is called once, before the first request.
func (d *Door) ConnectJobs(j JobService, expand func(*http.Request, *twin.JobRequest) error) {
	d.jobs, d.expand = j, expand
}

// Close answers the gets that wait, stops the workers and waits for them. Requests
// that come later are refused. Close it before the broker and the engine, so that
// the answers still have a way out. It may be called twice.
func (d *Door) Close() {
	if d.gets != nil {
		d.gets.close()
	}
}

// submit hands an update to the engine and keeps account of it. done is called
// exactly once, here if the update is refused at once.
func (d *Door) submit(u twin.Update, done func(twin.Result)) {
	thing := u.Key.Thing
	ticket, ok := d.flights.beginUpdate(thing)
	if !ok {
		done(twin.Result{Err: errThrottled})
		return
	}
	err := d.engine.Submit(u, func(r twin.Result) {
		ready := d.flights.endUpdate(thing, ticket)
		d.report(r.Err, u.Key)
		done(r)
		d.gets.release(ready)
	})
	if err != nil {
		ready := d.flights.endUpdate(thing, ticket)
		d.report(err, u.Key)
		done(twin.Result{Err: err})
		d.gets.release(ready)
	}
}

// report logs what went wrong in the server itself, once per request; what a
// client did wrong is told to the client.
func (d *Door) report(err error, key twin.ShadowKey) {
	if err != nil && twin.Kind(err) == twin.KindInternal {
		d.log.Error("shadow request ended in an internal error",
			"thing", string(key.Thing), "shadow", string(key.Shadow), "error", err)
	}
}

// newUUID returns a random UUID, version 4 (RFC 9562 section 5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24: the process stops instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
