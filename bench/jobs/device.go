package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/twofold-iot/twofold/internal/wire"
)

// device is what a device remembers, over connections and kills.
type device struct {
	name    string
	outcome string
	running bool
	said    bool // how it ended
	over    bool // and the server has confirmed it
	starts  int
	again   int // the same execution, handed out once more before its end
}

// gateway is a connection that stands for some devices.
type gateway struct {
	bench   *bench
	id      string
	names   map[string]*device
	ordered []*device

	net    net.Conn
	out    chan []byte
	lastID uint16
	group  sync.WaitGroup
}

const outMax = 1 << 16 // packets that wait to be written

func (b *bench) newFleet() {
	b.more = make(chan struct{}, 1)
	for i := range b.gateways {
		b.fleet = append(b.fleet, &gateway{bench: b, id: fmt.Sprintf("gateway-%d", i), names: make(map[string]*device)})
	}
	for n := range b.things {
		g := b.fleet[n%b.gateways]
		d := &device{name: thing(n), outcome: outcome(n)}
		g.names[d.name] = d
		g.ordered = append(g.ordered, d)
	}
}

// devices lists all by number; nothing may be connected.
func (b *bench) devices() []*device {
	all := make([]*device, b.things)
	for i, g := range b.fleet {
		for k, d := range g.ordered {
			all[k*b.gateways+i] = d
		}
	}
	return all
}

func (b *bench) connect(ctx context.Context) error {
	for _, g := range b.fleet {
		if err := g.connect(ctx, b.subject.MQTT); err != nil {
			return fmt.Errorf("connect %s: %w", g.id, err)
		}
	}
	return nil
}

func (b *bench) disconnect() error {
	for _, g := range b.fleet {
		if g.net != nil {
			_ = g.net.Close() // it may be broken already
			g.group.Wait()
			g.net = nil
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.faults) > 0 {
		return b.faults[0]
	}
	return nil
}

const subscribeMax = 30 // devices in one packet

// connect subscribes to all topics of the devices, and then asks for each what is next: a
// notification before that is lost to it.
func (g *gateway) connect(ctx context.Context, addr string) error {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	g.net, g.out = nc, make(chan []byte, outMax)
	hello := wire.AppendConnect(nil, g.id, true)
	subscribes := 0
	for at := 0; at < len(g.ordered); at += subscribeMax {
		var filters []string
		for _, d := range g.ordered[at:min(at+subscribeMax, len(g.ordered))] {
			base := "$aws/things/" + d.name + "/jobs/"
			filters = append(filters, base+"notify-next", base+"start-next/+", base+"+/update/+")
		}
		subscribes++
		hello = wire.AppendSubscribe(hello, uint16(subscribes), filters...)
	}
	if _, err := nc.Write(hello); err != nil {
		return err
	}
	g.group.Go(g.write)
	subscribed := make(chan error, 1)
	g.group.Go(func() {
		defer close(g.out)
		in := bufio.NewReader(nc)
		err := g.await(in, subscribes)
		subscribed <- err
		if err != nil {
			return
		}
		for _, d := range g.ordered {
			if !d.over {
				g.publish("$aws/things/"+d.name+"/jobs/start-next", `{}`)
			}
		}
		g.read(in, 0)
	})
	return <-subscribed
}

// await reads until the server has answered all subscribes.
func (g *gateway) await(in *bufio.Reader, subscribes int) error {
	if p, _, err := wire.Read(in, nil); err != nil || p.First != wire.Connack {
		return fmt.Errorf("got packet %#x, want %#x: %w", p.First, wire.Connack, err)
	}
	if left := g.read(in, subscribes); left > 0 {
		return fmt.Errorf("%d subscribes are not answered", left)
	}
	return nil
}

// write ends when there is nothing more to write; what cannot be written is lost.
func (g *gateway) write() {
	for packet := range g.out {
		_, _ = g.net.Write(packet) // the reader sees that the connection is gone
	}
}

func (g *gateway) publish(topic, payload string) {
	if g.lastID++; g.lastID == 0 {
		g.lastID = 1
	}
	g.out <- wire.AppendPublish(nil, topic, g.lastID, false, []byte(payload))
}

// read reads until the connection ends, or so many subscribes are answered if that is not
// 0; it returns how many are left.
func (g *gateway) read(in *bufio.Reader, subscribes int) (left int) {
	var buf []byte
	for {
		p, b, err := wire.Read(in, buf)
		if err != nil {
			return subscribes // the server was killed, or the run is over
		}
		buf = b
		if p.First == wire.Suback {
			if subscribes--; subscribes == 0 {
				return 0
			}
		}
		if p.First&0xf0 != wire.Publish {
			continue
		}
		topic, id, payload, err := p.Message()
		if err != nil {
			g.fault("%s: %w", g.id, err)
			return subscribes
		}
		if id != 0 {
			g.out <- wire.AppendPuback(nil, id)
		}
		g.message(topic, payload)
	}
}

func (g *gateway) fault(format string, args ...any) {
	b := g.bench
	b.mu.Lock()
	b.faults = append(b.faults, fmt.Errorf(format, args...))
	b.mu.Unlock()
	b.wake()
}

func (b *bench) wake() {
	select {
	case b.more <- struct{}{}:
	default:
	}
}

type message struct {
	Code      string
	Message   string
	Execution *struct {
		JobID         string
		Status        string
		VersionNumber int
	}
	ExecutionState *struct{ Status string }
}

func (g *gateway) message(topic string, payload []byte) {
	rest := strings.TrimPrefix(topic, "$aws/things/")
	name, what, _ := strings.Cut(rest, "/jobs/")
	d := g.names[name]
	var m message
	if d == nil || json.Unmarshal(payload, &m) != nil {
		g.fault("a message on %s: %s", topic, payload)
		return
	}
	switch what {
	case "notify-next":
		if m.Execution != nil && !d.running {
			g.publish("$aws/things/"+name+"/jobs/start-next", `{}`)
		}
	case "start-next/accepted":
		g.started(d, &m)
	case "start-next/rejected":
		g.fault("%s may not start: %s", name, payload)
	case jobID + "/update/accepted":
		g.over(d)
	case jobID + "/update/rejected":
		// The answer to the first may have been lost in a kill.
		if m.ExecutionState == nil || m.ExecutionState.Status != d.outcome {
			g.fault("%s may not say %s: %s", name, d.outcome, payload)
			return
		}
		g.over(d)
	}
}

// started takes what is next for a device.
func (g *gateway) started(d *device, m *message) {
	switch e := m.Execution; {
	case e == nil:
		if d.said { // its end had come through, though not the answer
			g.over(d)
		}
	case d.over:
		g.fault("%s was given %s again after its end", d.name, e.JobID)
	case e.JobID != jobID || e.Status != "IN_PROGRESS":
		g.fault("%s was given %+v", d.name, *e)
	default:
		if d.running {
			d.again++
		} else {
			d.running = true
			d.starts++
		}
		d.said = true
		g.publish("$aws/things/"+d.name+"/jobs/"+jobID+"/update", fmt.Sprintf(`{"status":%q,"expectedVersion":%d}`, d.outcome, e.VersionNumber))
	}
}

func (g *gateway) over(d *device) {
	if d.over {
		return
	}
	d.over = true
	g.bench.mu.Lock()
	g.bench.ended++
	g.bench.mu.Unlock()
	g.bench.wake()
}
