// Command commands measures how long a command takes from the request of an application
// over HTTP to its device over MQTT and back: until the device's answer that it is done is
// acknowledged, and so durable. On the way are three or four commits: queued, delivered,
// maybe accepted, done.
//
// Commands are sent at a steady rate, whether or not the ones before have ended, so that a
// server that falls behind shows it. At the end every command is looked up: each must be
// done, and no device may have got one twice.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/bench/load"
	"github.com/twofold-iot/twofold/bench/subject"
	"github.com/twofold-iot/twofold/internal/wire"
)

type config struct {
	server   string
	data     string
	rate     int
	length   time.Duration
	things   int
	accepted bool
	goal     time.Duration
}

func main() {
	var c config
	seconds := flag.Int("seconds", 20, "seconds of load")
	flag.StringVar(&c.server, "server", "bin/twofold", "the twofold binary")
	flag.StringVar(&c.data, "data", ".cache/bench", "directory for data; must be on a real disk")
	flag.IntVar(&c.rate, "rate", 1000, "commands a second")
	flag.IntVar(&c.things, "things", 200, "devices, each with a connection of its own")
	flag.BoolVar(&c.accepted, "accepted", false, "devices say accepted before they say done")
	flag.DurationVar(&c.goal, "goal", 20*time.Millisecond, "of p99; 0: none")
	flag.Parse()
	c.length = time.Duration(*seconds) * time.Second
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, c)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "commands:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, c config) (err error) {
	if c.rate < 1 || c.things < 1 || c.things > 1000 || c.length < time.Second {
		return errors.New("give a rate, 1 to 1,000 things and a second at least")
	}
	if err := os.MkdirAll(c.data, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	dir, err := os.MkdirTemp(c.data, "commands-")
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := subject.Twofold{Binary: c.server, Data: filepath.Join(dir, "data")}
	if s.MQTT, err = subject.FreeAddr(); err != nil {
		return err
	}
	if s.HTTP, err = subject.FreeAddr(); err != nil {
		return err
	}
	p, err := s.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	b := &bench{config: c, http: "http://" + p.HTTP, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}}}
	defer b.client.CloseIdleConnections()
	if err := b.connect(ctx, p.MQTT); err != nil {
		return errors.Join(err, b.disconnect())
	}
	sendErr := b.send(ctx)
	waitErr := b.await(ctx)
	if err := errors.Join(sendErr, waitErr, b.disconnect()); err != nil {
		return err
	}
	if err := b.check(ctx); err != nil {
		return err
	}
	return b.report(w)
}

const (
	senders   = 64               // HTTP connections
	drainTime = 10 * time.Second // for commands under way when the time is up
	askTime   = 10 * time.Second // of one HTTP request
)

type bench struct {
	config
	http    string
	client  *http.Client
	devices []*device

	mu      sync.Mutex
	started map[string]time.Time // by command, when it was due
	latency load.Histogram
	done    int
	faults  []error
}

// device is one device: a connection that answers each command with done.
type device struct {
	bench   *bench
	name    string
	net     net.Conn
	flights map[uint16]string // commands whose last answer is not acknowledged
	seen    map[string]bool
	lastID  uint16
	ended   chan error
}

func (b *bench) connect(ctx context.Context, addr string) error {
	b.started = make(map[string]time.Time)
	for i := range b.things {
		d := &device{
			bench: b, name: fmt.Sprintf("pump-%d", i), flights: make(map[uint16]string),
			seen: make(map[string]bool), ended: make(chan error, 1),
		}
		if err := b.post(ctx, "/api/v1/twins", fmt.Sprintf(`{"deviceId":%q}`, d.name)); err != nil {
			return err
		}
		if err := d.connect(ctx, addr); err != nil {
			return err
		}
		b.devices = append(b.devices, d)
	}
	return nil
}

func (d *device) connect(ctx context.Context, addr string) error {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("connect %s: %w", d.name, err)
	}
	d.net = nc
	out := wire.AppendConnect(nil, d.name, true)
	out = wire.AppendSubscribe(out, 1, "twins/"+d.name+"/commands/+")
	if _, err := nc.Write(out); err != nil {
		return fmt.Errorf("connect %s: %w", d.name, err)
	}
	in := bufio.NewReader(nc)
	for _, want := range []byte{wire.Connack, wire.Suback} {
		p, _, err := wire.Read(in, nil)
		if err != nil || p.First != want {
			return fmt.Errorf("connect %s: got packet %#x, want %#x: %w", d.name, p.First, want, err)
		}
	}
	go func() { d.ended <- d.serve(in) }()
	return nil
}

// serve answers until the connection is closed.
func (d *device) serve(in *bufio.Reader) error {
	var buf []byte
	for {
		p, b, err := wire.Read(in, buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("%s: %w", d.name, err)
		}
		buf = b
		switch p.First & 0xf0 {
		case wire.Publish:
			err = d.command(p)
		case wire.Puback:
			err = d.acknowledged(p)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
}

func (d *device) command(p wire.Packet) error {
	topic, id, _, err := p.Message()
	if err != nil {
		return err
	}
	command := topic[strings.LastIndexByte(topic, '/')+1:]
	if d.seen[command] {
		return fmt.Errorf("command %s came twice", command)
	}
	d.seen[command] = true
	out := wire.AppendPuback(nil, id)
	if d.bench.accepted {
		out = d.answer(out, topic, "accepted")
	}
	out = d.answer(out, topic, "done")
	d.flights[d.lastID] = command
	_, err = d.net.Write(out)
	return err
}

func (d *device) answer(dst []byte, topic, status string) []byte {
	if d.lastID++; d.lastID == 0 {
		d.lastID = 1
	}
	return wire.AppendPublish(dst, topic+"/status", d.lastID, false, []byte(`{"status":"`+status+`"}`))
}

func (d *device) acknowledged(p wire.Packet) error {
	if len(p.Body) < 2 {
		return wire.ErrMalformed
	}
	id := uint16(p.Body[0])<<8 | uint16(p.Body[1])
	command, ok := d.flights[id]
	if !ok {
		return nil // of accepted
	}
	delete(d.flights, id)
	now := time.Now()
	b := d.bench
	b.mu.Lock()
	defer b.mu.Unlock()
	b.latency.Add(now.Sub(b.started[command]))
	b.done++
	return nil
}

func (b *bench) disconnect() error {
	var errs []error
	for _, d := range b.devices {
		errs = append(errs, d.net.Close(), <-d.ended)
	}
	b.devices = nil
	return errors.Join(errs...)
}

// send sends commands at a steady rate.
func (b *bench) send(ctx context.Context) error {
	total := b.total()
	due := make(chan int, total)
	var group sync.WaitGroup
	for range senders {
		group.Go(func() {
			for n := range due {
				if err := b.sendOne(ctx, n); err != nil {
					b.mu.Lock()
					b.faults = append(b.faults, err)
					b.mu.Unlock()
				}
			}
		})
	}
	begin := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; n < total && ctx.Err() == nil; {
		<-tick.C
		for want := int(time.Since(begin).Seconds() * float64(b.rate)); n < min(want, total); n++ {
			b.mu.Lock()
			b.started[id(n)] = begin.Add(time.Duration(n) * time.Second / time.Duration(b.rate))
			b.mu.Unlock()
			due <- n
		}
	}
	close(due)
	group.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.faults) > 0 {
		return fmt.Errorf("%d of %d commands were not taken, the first: %w", len(b.faults), total, b.faults[0])
	}
	return ctx.Err()
}

func (b *bench) total() int { return int(b.length.Seconds() * float64(b.rate)) }

func id(n int) string { return fmt.Sprintf("c%d", n) }

func (b *bench) sendOne(ctx context.Context, n int) error {
	return b.post(ctx, fmt.Sprintf("/api/v1/twins/pump-%d/commands", n%b.things), fmt.Sprintf(`{"id":%q,"name":"flush","parameters":{"seconds":30}}`, id(n)))
}

func (b *bench) post(ctx context.Context, path, body string) error {
	_, err := b.do(ctx, http.MethodPost, path, body)
	return err
}

func (b *bench) do(ctx context.Context, method, path, body string) (answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, b.http+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if answer, err = io.ReadAll(res.Body); err != nil {
		return nil, err
	}
	if res.StatusCode > 299 {
		return nil, fmt.Errorf("%s %s: %s %s", method, path, res.Status, bytes.TrimSpace(answer))
	}
	return answer, nil
}

// await waits for the commands that are under way.
func (b *bench) await(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(drainTime); ; {
		b.mu.Lock()
		done := b.done
		b.mu.Unlock()
		if done == b.total() || ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d commands are not done after %s", b.total()-done, b.total(), drainTime)
		}
		<-tick.C
	}
}

// check looks up what the server says of all commands.
func (b *bench) check(ctx context.Context) error {
	done := 0
	for i := range b.things {
		for cursor := ""; ; {
			var page struct {
				Commands []struct{ State string }
				Next     string
			}
			answer, err := b.do(ctx, http.MethodGet, fmt.Sprintf("/api/v1/twins/pump-%d/commands?state=done&limit=1000%s", i, cursor), "")
			if err == nil {
				err = json.Unmarshal(answer, &page)
			}
			if err != nil {
				return fmt.Errorf("look up the commands of pump-%d: %w", i, err)
			}
			if done += len(page.Commands); page.Next == "" {
				break
			}
			cursor = "&cursor=" + page.Next
		}
	}
	if done != b.total() {
		return fmt.Errorf("%d commands are done, %d were sent", done, b.total())
	}
	return nil
}

func (b *bench) report(w io.Writer) error {
	q := func(x float64) time.Duration { return b.latency.Quantile(x).Round(10 * time.Microsecond) }
	steps := "queued, delivered, done"
	if b.accepted {
		steps = "queued, delivered, accepted, done"
	}
	p99 := q(0.99)
	_, err := fmt.Fprintf(w, "machine: %s\ncommit:  %s\n%d commands to %d devices at %d/s (%s), each done once\np50 %s  p95 %s  p99 %s  max %s\n",
		subject.Machine(), subject.Commit(), b.total(), b.things, b.rate, steps, q(0.5), q(0.95), p99, q(1))
	if err == nil && b.goal > 0 && p99 > b.goal {
		err = fmt.Errorf("p99 %s is over the goal of %s", p99, b.goal)
	}
	return err
}
