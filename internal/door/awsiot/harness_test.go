package awsiot_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waitMax bounds every wait of a test, so that a fault is a failure and no hang.
const waitMax = 10 * time.Second

// startTime is when the fake clock stands: 2023-11-14T22:13:20.5Z.
const startTime = twin.Time(1700000000500)

// fakeEngine applies the real shadow rules to a map. An update has its outcome
// inside Submit, or when the test says so if hold is set.
type fakeEngine struct {
	mu        sync.Mutex
	publisher interface {
		Stage(c *twin.Change) twin.Outgoing
	}
	shadows  map[twin.ShadowKey]*twin.Shadow
	keys     map[string][]byte // Idempotency-Key to answer
	updates  []twin.Update
	rejected []string
	held     []func()
	holding  chan struct{} // one for each update that is held
	reads    int

	hold      bool
	duplicate bool // every update had its effect before
	limits    twin.Limits
	submitErr error // Submit fails at once
	commitErr error // the commit fails
	readErr   error
	readGate  chan struct{} // reads wait for it if not nil
	now       twin.Time
}

func (e *fakeEngine) Reject(key twin.ShadowKey, origin twin.Origin, token string, cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rejected = append(e.rejected, fmt.Sprintf("%s %s %q %v", key, origin.Door, token, cause))
}

// takeRejected counts the notes since it was asked last.
func (e *fakeEngine) takeRejected() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.rejected)
	e.rejected = nil
	return n
}

func (e *fakeEngine) Submit(u twin.Update, done func(twin.Result)) error {
	if e.duplicate {
		done(twin.Result{Duplicate: true, Version: 3})
		return nil
	}
	e.mu.Lock()
	if e.submitErr != nil {
		e.mu.Unlock()
		return e.submitErr
	}
	e.updates = append(e.updates, u)
	run := func() { e.apply(u, done) }
	if e.hold {
		e.held = append(e.held, run)
		e.mu.Unlock()
		e.holding <- struct{}{}
		return nil
	}
	e.mu.Unlock()
	run()
	return nil
}

func (e *fakeEngine) apply(u twin.Update, done func(twin.Result)) {
	e.mu.Lock()
	if answer, ok := e.keys[u.IdempotencyKey]; ok && u.IdempotencyKey != "" {
		e.mu.Unlock()
		done(twin.Result{Duplicate: true, Answer: answer})
		return
	}
	var c *twin.Change
	err := e.commitErr
	if err == nil && u.Delete {
		c, err = twin.NewDelete(u.Key, e.shadows[u.Key], u.Request, e.now)
	} else if err == nil {
		c, err = twin.NewChange(u.Key, e.shadows[u.Key], u.Request, e.now, e.limits)
	}
	if err != nil {
		e.rejected = append(e.rejected, err.Error()) // the engine notes what it rejects itself
		e.mu.Unlock()
		done(twin.Result{Err: err})
		return
	}
	out := e.publisher.Stage(c)
	e.shadows[u.Key] = c.Current
	if u.IdempotencyKey != "" {
		e.keys[u.IdempotencyKey] = c.AppendAccepted(nil)
	}
	e.mu.Unlock()
	done(twin.Result{Change: c, Version: c.Version})
	if out != nil {
		out.Deliver()
	}
}

// settle gives the oldest n held updates their outcome.
func (e *fakeEngine) settle(n int) {
	e.mu.Lock()
	run := e.held[:n]
	e.held = e.held[n:]
	e.mu.Unlock()
	for _, f := range run {
		f()
	}
}

func (e *fakeEngine) Shadow(ctx context.Context, key twin.ShadowKey) (*twin.Shadow, error) {
	if e.readGate != nil {
		select {
		case <-e.readGate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reads++
	return e.shadows[key], e.readErr
}

func (e *fakeEngine) ShadowNames(_ context.Context, thing twin.ThingName, after twin.ShadowName, limit int) ([]twin.ShadowName, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.readErr != nil {
		return nil, e.readErr
	}
	var names []twin.ShadowName
	for k, s := range e.shadows {
		if k.Thing == thing && k.Shadow > after && s.Exists() {
			names = append(names, k.Shadow)
		}
	}
	slices.Sort(names)
	return names[:min(limit, len(names))], nil
}

func (e *fakeEngine) Now() twin.Time      { return e.now }
func (e *fakeEngine) Limits() twin.Limits { return e.limits }

// snapshot is everything stored, to see that nothing changed.
func (e *fakeEngine) snapshot() map[twin.ShadowKey]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make(map[twin.ShadowKey]string)
	for k, s := range e.shadows {
		all[k] = string(s.AppendBinary(nil))
	}
	return all
}

// fakeBroker knows who listens and keeps what is sent, in order.
type fakeBroker struct {
	door *awsiot.Door

	mu       sync.Mutex
	all      bool // everything is wanted
	topics   map[string]bool
	retained []awsiot.RetainedMessage

	asked int               // calls of Wanted
	sent  chan twin.Message // all messages that went out
	plain chan twin.Publish // publishes that are no request
	fault error             // Publish fails with it
}

func (b *fakeBroker) Wanted(topic []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	return b.all || b.topics[string(topic)]
}

type fakeOutgoing struct {
	broker *fakeBroker
	ms     []twin.Message
}

func (o fakeOutgoing) Records() []twin.RecordWrite { return nil }

func (o fakeOutgoing) Deliver() {
	for _, m := range o.ms {
		o.broker.Send(m)
	}
}

func (b *fakeBroker) Stage(ms []twin.Message) twin.Outgoing { return fakeOutgoing{b, ms} }

func (b *fakeBroker) Send(m twin.Message) { b.sent <- m }

func (b *fakeBroker) Publish(p *twin.Publish, done func(error)) {
	if b.fault != nil {
		done(b.fault)
		return
	}
	if strings.HasPrefix(p.Topic, "$") {
		if err := b.door.Allow(p.Topic); err != nil {
			done(err)
			return
		}
		if b.door.Publish(p, done) {
			return
		}
	}
	b.plain <- *p
	done(nil)
}

func (b *fakeBroker) Retained(topic string) (awsiot.RetainedMessage, bool) {
	for _, m := range b.retained {
		if m.Topic == topic {
			return m, true
		}
	}
	return awsiot.RetainedMessage{}, false
}

func (b *fakeBroker) ListRetained(after string, limit int) []awsiot.RetainedMessage {
	var page []awsiot.RetainedMessage
	for _, m := range b.retained {
		if m.Topic > after && len(page) < limit {
			page = append(page, m)
		}
	}
	return page
}

// rig is a door between a fake engine and a fake broker.
type rig struct {
	t      *testing.T
	door   *awsiot.Door
	engine *fakeEngine
	broker *fakeBroker
	log    *bytes.Buffer
}

func newRig(t *testing.T, opts awsiot.Options) *rig {
	t.Helper()
	if opts.NewID == nil {
		opts.NewID = func() string { return "id-1" }
	}
	var log bytes.Buffer
	d, err := awsiot.New(slog.New(slog.NewTextHandler(&log, nil)), opts)
	if err != nil {
		t.Fatal(err)
	}
	e := &fakeEngine{
		publisher: d, now: startTime, holding: make(chan struct{}, 1000),
		shadows: make(map[twin.ShadowKey]*twin.Shadow), keys: make(map[string][]byte),
	}
	b := &fakeBroker{
		door: d, all: true, topics: make(map[string]bool),
		sent: make(chan twin.Message, 10000), plain: make(chan twin.Publish, 100),
	}
	d.Connect(e, b, b)
	t.Cleanup(d.Close)
	return &rig{t, d, e, b, &log}
}

// publish sends a request as a client would and returns where its acknowledgement
// arrives.
func (r *rig) publish(topic, payload string) <-chan error {
	r.t.Helper()
	acked := make(chan error, 2)
	p := &twin.Publish{
		Message: twin.Message{Topic: topic, Payload: []byte(payload), QoS: 1},
		Origin:  twin.Origin{Door: twin.DoorMQTT, Session: "c1", PacketID: 7},
	}
	if !r.door.Publish(p, func(err error) { acked <- err }) {
		r.t.Fatalf("publish to %s: not taken", topic)
	}
	return acked
}

// must publishes and wants the packet acknowledged.
func (r *rig) must(topic, payload string) {
	r.t.Helper()
	if err := receive(r.t, r.publish(topic, payload)); err != nil {
		r.t.Fatalf("publish to %s: acknowledged with %v", topic, err)
	}
}

// next is the next message sent.
func (r *rig) next() twin.Message {
	r.t.Helper()
	return receive(r.t, r.broker.sent)
}

// want checks the next message sent.
func (r *rig) want(topic, payload string) {
	r.t.Helper()
	m := r.next()
	if m.Topic != topic || string(m.Payload) != payload {
		r.t.Fatalf("sent %s\n  %s\nwant %s\n  %s", m.Topic, m.Payload, topic, payload)
	}
	if m.QoS != 1 || m.Retain {
		r.t.Fatalf("sent %s with QoS %d, retain %v; want QoS 1, no retain", m.Topic, m.QoS, m.Retain)
	}
}

// quiet checks that nothing more was sent.
func (r *rig) quiet() {
	r.t.Helper()
	select {
	case m := <-r.broker.sent:
		r.t.Fatalf("sent %s %s, want nothing", m.Topic, m.Payload)
	default:
	}
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(waitMax):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// do sends an HTTP request; the target may hold any escapes.
func (r *rig) do(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.door.Handler().ServeHTTP(w, req)
	return w
}

// wantHTTP checks an answer; errorType empty: none.
func wantHTTP(t *testing.T, w *httptest.ResponseRecorder, code int, errorType, body string) {
	t.Helper()
	got, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if w.Code != code || string(got) != body {
		t.Fatalf("HTTP %d %s\nwant %d %s", w.Code, got, code, body)
	}
	h := w.Header()
	if ct := h.Get("Content-Type"); ct != "application/json" {
		t.Fatalf("Content-Type %q", ct)
	}
	if id := rawHeader(h, "x-amzn-RequestId"); id != "id-1" {
		t.Fatalf("x-amzn-RequestId %q", id)
	}
	want := errorType
	if want != "" {
		want += ":"
	}
	if et := rawHeader(h, "x-amzn-ErrorType"); et != want {
		t.Fatalf("x-amzn-ErrorType %q, want %q", et, want)
	}
}

// rawHeader reads a header whose name is in the case AWS sends.
func rawHeader(h http.Header, name string) string {
	return strings.Join(h[name], ",")
}

func errorBody(message string) string {
	return `{"message":"` + message + `","traceId":"id-1"}`
}
