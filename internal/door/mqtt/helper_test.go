package mqtt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

const patience = 10 * time.Second

// fakeRecords keeps records in memory. Writes are durable when done is called,
// which hold can put off.
type fakeRecords struct {
	mu     sync.Mutex
	m      map[string]twin.Record // by kind and key
	err    error                  // answer of the next writes
	held   []func()
	hold   bool
	writes int
}

func newRecords() *fakeRecords { return &fakeRecords{m: make(map[string]twin.Record)} }

func recordKey(kind twin.RecordKind, key string) string { return string(rune(kind)) + key }

func (f *fakeRecords) WriteRecords(_ string, ws []twin.RecordWrite, done func(error)) error {
	f.mu.Lock()
	f.writes++
	if f.err != nil {
		err := f.err
		f.mu.Unlock()
		go done(err)
		return nil
	}
	ws = slices.Clone(ws)
	commit := func() {
		f.mu.Lock()
		f.apply(ws)
		f.mu.Unlock()
		done(nil)
	}
	if f.hold {
		f.held = append(f.held, commit)
		f.mu.Unlock()
		return nil
	}
	f.mu.Unlock()
	commit()
	return nil
}

func (f *fakeRecords) apply(ws []twin.RecordWrite) {
	for _, w := range ws {
		if w.Value == nil {
			delete(f.m, recordKey(w.Kind, w.Key))
		} else {
			f.m[recordKey(w.Kind, w.Key)] = twin.Record{Kind: w.Kind, Key: w.Key, Value: bytes.Clone(w.Value)}
		}
	}
}

// commit makes staged records durable, as the engine does with the change.
func (f *fakeRecords) commit(o twin.Outgoing) {
	f.mu.Lock()
	f.apply(o.Records())
	f.mu.Unlock()
	o.Deliver()
}

func (f *fakeRecords) setHold(on bool) {
	f.mu.Lock()
	held := f.held
	f.hold = on
	if !on {
		f.held = nil
	}
	f.mu.Unlock()
	if !on {
		for _, h := range held {
			h()
		}
	}
}

func (f *fakeRecords) fail(err error) {
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
}

func (f *fakeRecords) count(kind twin.RecordKind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.m {
		if r.Kind == kind {
			n++
		}
	}
	return n
}

// copy is what a crash now would leave.
func (f *fakeRecords) copy() *fakeRecords {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := newRecords()
	maps.Copy(g.m, f.m)
	return g
}

func (f *fakeRecords) Records(_ context.Context, kind twin.RecordKind, prefix, after string, limit int) ([]twin.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []twin.Record
	for _, r := range f.m {
		if r.Kind == kind && strings.HasPrefix(r.Key, prefix) && r.Key > after {
			list = append(list, r)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Key < list[j].Key })
	return list[:min(limit, len(list))], nil
}

// fakeHandler takes publishes on $aws/things/+/shadow/update and leaves the
// answer to the test.
type fakeHandler struct {
	auto  bool // answer nil at once
	calls chan *call
}

type call struct {
	p    *twin.Publish
	done func(error)
}

func newHandler() *fakeHandler { return &fakeHandler{calls: make(chan *call, 10000)} }

func (h *fakeHandler) Allow(topic string) error {
	switch {
	case strings.HasPrefix(topic, "$aws/things/") && strings.HasSuffix(topic, "/update"):
		return nil
	case strings.HasPrefix(topic, "$aws/things/") && strings.Contains(topic, "+"):
		return twin.NewError(twin.KindInvalid, "Invalid topic")
	}
	return twin.NewError(twin.KindDenied, "Forbidden")
}

func (h *fakeHandler) Publish(p *twin.Publish, done func(error)) bool {
	if !strings.HasPrefix(p.Topic, "$aws/") {
		return false
	}
	if h.auto {
		done(nil)
		return true
	}
	h.calls <- &call{p, done}
	return true
}

func (h *fakeHandler) next(t *testing.T) *call {
	t.Helper()
	select {
	case c := <-h.calls:
		return c
	case <-time.After(patience):
		t.Fatal("handler was not called")
		return nil
	}
}

func (h *fakeHandler) none(t *testing.T) {
	t.Helper()
	select {
	case c := <-h.calls:
		t.Fatalf("handler was called with %q, packet %d", c.p.Topic, c.p.Origin.PacketID)
	default:
	}
}

// testBroker is a broker on a loopback listener.
type testBroker struct {
	*mqtt.Broker
	t    *testing.T
	addr string
	log  *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func start(t *testing.T, opts mqtt.Options) *testBroker {
	t.Helper()
	log := &syncBuffer{}
	b, err := mqtt.Open(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), opts)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(ln) }()
	tb := &testBroker{Broker: b, t: t, addr: ln.Addr().String(), log: log}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve returned %v", err)
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return tb
}

// rawClient speaks bytes.
type rawClient struct {
	t  *testing.T
	nc net.Conn
	v  packet.Version
	in []byte
}

func (b *testBroker) dial(v packet.Version) *rawClient {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = nc.Close() })
	return &rawClient{t: b.t, nc: nc, v: v}
}

// connect opens a connection and expects success; it returns the CONNACK too.
func (b *testBroker) connect(v packet.Version, id string, edit ...func(*packet.Connect)) (*rawClient, *packet.Connack) {
	b.t.Helper()
	c := b.dial(v)
	ack := c.connect(id, edit...)
	if ack.Code != 0 {
		b.t.Fatalf("CONNACK code 0x%02x", ack.Code)
	}
	return c, ack
}

// client is connect without the CONNACK.
func (b *testBroker) client(v packet.Version, id string, edit ...func(*packet.Connect)) *rawClient {
	b.t.Helper()
	c, _ := b.connect(v, id, edit...)
	return c
}

func (c *rawClient) connect(id string, edit ...func(*packet.Connect)) *packet.Connack {
	c.t.Helper()
	p := &packet.Connect{Version: c.v, CleanStart: true, ClientID: []byte(id)}
	for _, e := range edit {
		e(p)
	}
	c.write(packet.AppendConnect(nil, p))
	ack, err := packet.DecodeConnack(c.expect(packet.CONNACK), c.v)
	if err != nil {
		c.t.Fatal(err)
	}
	return ack
}

// persistent asks for a session that outlives the connection.
func persistent(p *packet.Connect) {
	p.CleanStart = false
	if p.Version == packet.V5 {
		p.Properties.SetUint(packet.SessionExpiry, 3600)
	}
}

func (c *rawClient) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// read returns the next packet, or the error that ended the connection.
func (c *rawClient) read() (packet.Header, []byte, error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	for {
		h, err := packet.ParseHeader(c.in)
		if err != nil {
			return h, nil, err
		}
		if h.Size > 0 && len(c.in) >= h.Size+h.Length {
			body := bytes.Clone(c.in[h.Size : h.Size+h.Length])
			c.in = c.in[h.Size+h.Length:]
			return h, body, nil
		}
		n, err := c.nc.Read(buf)
		c.in = append(c.in, buf[:n]...)
		if err != nil && n == 0 {
			return packet.Header{}, nil, err
		}
	}
}

func (c *rawClient) expect(t packet.Type) []byte {
	c.t.Helper()
	h, body, err := c.read()
	if err != nil {
		c.t.Fatalf("waiting for packet type %d: %v", t, err)
	}
	if h.Type != t {
		c.t.Fatalf("got packet type %d (% x), want %d", h.Type, body, t)
	}
	return body
}

// expectClosed reads the end of the connection. A v5 connection says the reason
// before, unless want is 0.
func (c *rawClient) expectClosed(want packet.Reason) {
	c.t.Helper()
	h, body, err := c.read()
	if c.v == packet.V5 && want != 0 {
		if err != nil || h.Type != packet.DISCONNECT {
			c.t.Fatalf("got type %d, %v; want DISCONNECT", h.Type, err)
		}
		d, err := packet.DecodeDisconnect(body, packet.DISCONNECT, packet.V5)
		if err != nil || d.Reason != want {
			c.t.Fatalf("got reason %#x, %v; want %#x", d.Reason, err, want)
		}
		h, body, err = c.read()
		_ = err
	}
	_, _, err = c.read()
	if h.Type != 0 {
		c.t.Fatalf("got type %d (% x), want the end of the connection", h.Type, body)
	}
	if !isEnd(err) {
		c.t.Fatalf("got %v, want the end of the connection", err)
	}
}

func isEnd(err error) bool {
	var ne net.Error
	return err != nil && !(errors.As(err, &ne) && ne.Timeout()) || errors.Is(err, io.EOF)
}

func (c *rawClient) publish(topic, payload string, qos byte, id uint16, edit ...func(*packet.Outgoing)) {
	c.t.Helper()
	p := &packet.Outgoing{Topic: topic, Payload: []byte(payload), QoS: qos, PacketID: id}
	for _, e := range edit {
		e(p)
	}
	c.write(packet.AppendPublish(nil, c.v, p))
}

func dup(p *packet.Outgoing)    { p.Dup = true }
func retain(p *packet.Outgoing) { p.Retain = true }

func (c *rawClient) subscribe(qos byte, filters ...string) []byte {
	c.t.Helper()
	p := &packet.Subscribe{PacketID: 77}
	for _, f := range filters {
		p.Subscriptions = append(p.Subscriptions, packet.Subscription{Filter: []byte(f), QoS: qos})
	}
	return c.subscribePacket(p)
}

func (c *rawClient) subscribePacket(p *packet.Subscribe) []byte {
	c.t.Helper()
	c.write(packet.AppendSubscribe(nil, c.v, p))
	ack, err := packet.DecodeSuback(c.expect(packet.SUBACK), packet.SUBACK, c.v)
	if err != nil || ack.PacketID != p.PacketID {
		c.t.Fatalf("SUBACK %+v: %v", ack, err)
	}
	return ack.Codes
}

// received is a PUBLISH with its fields as strings.
type received struct {
	Topic, Payload string
	QoS            byte
	ID             uint16
	Dup, Retain    bool
	Props          packet.Properties
}

func (c *rawClient) expectPublish() received {
	c.t.Helper()
	h, body, err := c.read()
	if err != nil || h.Type != packet.PUBLISH {
		c.t.Fatalf("got type %d, %v; want PUBLISH", h.Type, err)
	}
	var p packet.Publish
	if err := packet.DecodePublish(&p, h.Flags, body, c.v); err != nil {
		c.t.Fatal(err)
	}
	return received{string(p.Topic), string(p.Payload), p.QoS, p.PacketID, p.Dup, p.Retain, p.Properties}
}

func (c *rawClient) puback(id uint16) {
	c.t.Helper()
	c.write(packet.AppendAck(nil, packet.PUBACK, c.v, id, packet.Success))
}

func (c *rawClient) expectPuback(id uint16, want packet.Reason) {
	c.t.Helper()
	var a packet.Ack
	if err := packet.DecodeAck(&a, c.expect(packet.PUBACK), packet.PUBACK, c.v); err != nil {
		c.t.Fatal(err)
	}
	if a.PacketID != id || a.Reason != want {
		c.t.Fatalf("PUBACK %d 0x%02x, want %d 0x%02x", a.PacketID, a.Reason, id, want)
	}
}

// ping makes sure that everything sent before was handled, and that nothing else
// had come back.
func (c *rawClient) ping() {
	c.t.Helper()
	c.write(packet.AppendPing(nil, packet.PINGREQ))
	c.expect(packet.PINGRESP)
}

func (c *rawClient) disconnect() {
	c.t.Helper()
	c.write(packet.AppendDisconnect(nil, c.v, &packet.Disconnect{}))
	c.expectClosed(0)
}

// drop ends the connection without DISCONNECT and waits until the broker knows.
func (b *testBroker) drop(c *rawClient, id string) {
	b.t.Helper()
	_ = c.nc.Close()
	b.eventually("client is gone", func() bool { return !b.Connected(id) })
}

// eventually waits for a condition that no channel reports.
func (b *testBroker) eventually(what string, f func() bool) {
	b.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !f() {
		select {
		case <-tick.C:
		case <-limit:
			b.t.Fatalf("in vain: %s", what)
		}
	}
}

// versions runs a test for both protocol versions.
func versions(t *testing.T, f func(t *testing.T, v packet.Version)) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) { f(t, v) })
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
