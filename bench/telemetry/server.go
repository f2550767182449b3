package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/bench/subject"
	"github.com/twofold-iot/twofold/bench/table"
	"github.com/twofold-iot/twofold/internal/wire"
)

func startPostgres(ctx context.Context, dir string, c *config) (*subject.Postgres, error) {
	if _, err := os.Stat(filepath.Join(c.postgres, "initdb")); err != nil {
		return nil, nil //nolint:nilerr // it is not there, and that is said
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // another user's server reads the files
		return nil, err
	}
	return subject.StartPostgres(ctx, c.postgres, filepath.Join(dir, "pg"))
}

// startServer starts the server on a folder of its own.
func startServer(ctx context.Context, dir string, c *config, args ...string) (*subject.Process, error) {
	mqtt, err := subject.FreeAddr()
	if err != nil {
		return nil, err
	}
	http, err := subject.FreeAddr()
	if err != nil {
		return nil, err
	}
	return subject.Twofold{Binary: c.server, Data: dir, MQTT: mqtt, HTTP: http, Args: args}.Start(ctx)
}

// bulkFigures imports CSV over HTTP and counts the time of the server's processor, also that
// of folding.
func bulkFigures(ctx context.Context, dir string, c *config) (fs []table.Figure, err error) {
	const samples, things = 2_000_000, 100
	var body strings.Builder
	rng := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // noise
	body.WriteString("thing,ts,value\n")
	start := time.Now().Add(-samples / things * time.Second).UnixMilli()
	for i := range samples {
		fmt.Fprintf(&body, "sensor-%04d,%d,%.2f\n", i%things, start+int64(i/things)*1000, noise(rng))
	}
	p, err := startServer(ctx, filepath.Join(dir, "bulk"), c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	before, err := subject.ReadUsage(p.PID())
	if err != nil {
		return nil, err
	}
	began := time.Now()
	res, err := http.Post("http://"+p.HTTP+"/api/v1/telemetry", "text/csv", strings.NewReader(body.String())) //nolint:noctx // it ends
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	took := time.Since(began)
	if want := fmt.Sprintf(`"accepted":%d`, samples); !strings.Contains(strings.ReplaceAll(string(answer), " ", ""), want) {
		return nil, fmt.Errorf("the server has said %s", answer)
	}
	if err := settle(ctx, p); err != nil {
		return nil, err
	}
	after, err := subject.ReadUsage(p.PID())
	if err != nil {
		return nil, err
	}
	cpu := after.Since(before).CPU
	return []table.Figure{{
		What: "bulk ingest of CSV, 100 things, durable, with folding", Goal: "≥ 500,000 a core and second",
		Value: fmt.Sprintf("%.0f a core and second, %.0f a second", samples/cpu.Seconds(), samples/took.Seconds()),
	}}, nil
}

// settle waits until the server uses no more time: what was to be folded is.
func settle(ctx context.Context, p *subject.Process) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	last := time.Duration(-1)
	for {
		u, err := subject.ReadUsage(p.PID())
		if err != nil || u.CPU-last < 20*time.Millisecond {
			return err
		}
		last = u.CPU
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const (
	publishers = 20
	perMessage = 10
)

// mqttFigures sends messages of ten values as fast as the server takes them.
func mqttFigures(ctx context.Context, dir string, c *config) (fs []table.Figure, err error) {
	for _, qos := range []byte{0, 1} {
		f, err := mqttFigure(ctx, filepath.Join(dir, fmt.Sprintf("qos%d", qos)), c, qos)
		if err != nil {
			return nil, err
		}
		fs = append(fs, f)
	}
	return fs, nil
}

func mqttFigure(ctx context.Context, dir string, c *config, qos byte) (f table.Figure, err error) {
	p, err := startServer(ctx, dir, c)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	var wg sync.WaitGroup
	errs := make([]error, publishers)
	began := time.Now()
	for i := range publishers {
		wg.Go(func() { errs[i] = publish(p.MQTT, i, qos, began.Add(c.run)) })
	}
	wg.Wait()
	took := time.Since(began)
	if err := errors.Join(errs...); err != nil {
		return f, err
	}
	if err := settle(ctx, p); err != nil {
		return f, err
	}
	values := 0
	for i := range publishers {
		n, err := kept(p.HTTP, fmt.Sprintf("line-%d", i))
		if err != nil {
			return f, err
		}
		values += n
	}
	goal := "≥ 300,000 values/s"
	if qos == 1 {
		goal = "≥ 150,000 values/s"
	}
	return table.Figure{
		What:  fmt.Sprintf("MQTT QoS %d, 10 values a message, %d connections, kept by the server", qos, publishers),
		Value: fmt.Sprintf("%.0f values/s", float64(values)/took.Seconds()), Goal: goal,
	}, nil
}

// publish sends until a time, in QoS 1 with at most 100 messages that are not acknowledged.
func publish(addr string, n int, qos byte, until time.Time) error {
	nc, r, err := connect(addr, fmt.Sprintf("line-%d", n))
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	rng := rand.New(rand.NewPCG(7, uint64(n))) //nolint:gosec // noise
	topic := fmt.Sprintf("twins/line-%d/telemetry", n)
	var out, buf []byte
	id, open := uint16(0), 0
	for time.Now().Before(until) || open > 0 {
		out = out[:0]
		for ; open < 100 && time.Now().Before(until); open++ {
			payload := []byte("{")
			for m := range perMessage {
				payload = fmt.Appendf(payload, `"m%d":%.2f,`, m, noise(rng))
			}
			payload[len(payload)-1] = '}'
			id = id%0xffff + 1
			out = appendPublish(out, topic, qos, id, payload)
		}
		if _, err := nc.Write(out); err != nil {
			return err
		}
		if qos == 0 {
			open = 0
			continue
		}
		for n := open/2 + 1; n > 0 && open > 0; n-- {
			packet, rest, err := wire.Read(r, buf)
			if err != nil {
				return err
			}
			buf = rest
			if packet.First == wire.Puback {
				open--
			}
		}
	}
	_, err = nc.Write([]byte{0xe0, 0}) // DISCONNECT
	return err
}

func appendPublish(dst []byte, topic string, qos byte, id uint16, payload []byte) []byte {
	if qos > 0 {
		return wire.AppendPublish(dst, topic, id, false, payload)
	}
	dst = wire.AppendRemaining(append(dst, 0x30), 2+len(topic)+len(payload))
	return append(wire.AppendString(dst, topic), payload...)
}

func connect(addr, client string) (net.Conn, *bufio.Reader, error) {
	nc, err := net.Dial("tcp", addr) //nolint:noctx // the deadline is set below
	if err != nil {
		return nil, nil, err
	}
	if err := nc.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		return nil, nil, err
	}
	if _, err := nc.Write(wire.AppendConnect(nil, client, true)); err != nil {
		return nil, nil, err
	}
	r := bufio.NewReader(nc)
	packet, _, err := wire.Read(r, nil)
	if err == nil && packet.First != wire.Connack {
		err = fmt.Errorf("%s: no CONNACK", client)
	}
	return nc, r, err
}

// kept is how many values of a thing the server has.
func kept(addr, thing string) (n int, err error) {
	res, err := http.Get("http://" + addr + "/api/v1/twins/" + thing + "/metrics") //nolint:noctx // it ends
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	var doc struct {
		Metrics []struct {
			Count int `json:"count"`
		} `json:"metrics"`
	}
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		return 0, err
	}
	for _, m := range doc.Metrics {
		n += m.Count
	}
	return n, nil
}

// memoryFigures is what the server needs while many things are live: each sends five
// metrics some times, over gateways.
func memoryFigures(ctx context.Context, dir string, c *config) (fs []table.Figure, err error) {
	if c.memory == 0 {
		return nil, nil
	}
	p, err := startServer(ctx, filepath.Join(dir, "memory"), c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	const gateways, rounds = 20, 3
	var wg sync.WaitGroup
	errs := make([]error, gateways)
	conns := make([]net.Conn, gateways)
	for g := range gateways {
		wg.Go(func() { conns[g], errs[g] = gateway(p.MQTT, g, gateways, c.memory, rounds) })
	}
	wg.Wait()
	defer func() {
		for _, nc := range conns {
			if nc != nil {
				_ = nc.Close()
			}
		}
	}()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := settle(ctx, p); err != nil {
		return nil, err
	}
	last, err := kept(p.HTTP, fmt.Sprintf("unit-%06d", c.memory-1))
	if err != nil {
		return nil, err
	}
	if last != 5*rounds {
		return nil, fmt.Errorf("the last thing has %d samples in place of %d", last, 5*rounds)
	}
	u, err := subject.ReadUsage(p.PID())
	if err != nil {
		return nil, err
	}
	return []table.Figure{{
		What:  fmt.Sprintf("memory with %d things × 5 metrics live over %d gateways (RSS)", c.memory, gateways),
		Value: fmt.Sprintf("%d MB", u.RSSBytes>>20), Goal: "≤ 600 MB",
	}}, nil
}

// gateway sends for some of the things, in QoS 1, and stays connected.
func gateway(addr string, g, gateways, things, rounds int) (net.Conn, error) {
	nc, r, err := connect(addr, fmt.Sprintf("gateway %d", g))
	if err != nil {
		return nc, err
	}
	id, open := uint16(0), 0
	var out, buf []byte
	drain := func(to int) error {
		for open > to {
			packet, rest, err := wire.Read(r, buf)
			if err != nil {
				return err
			}
			buf = rest
			if packet.First == wire.Puback {
				open--
			}
		}
		return nil
	}
	for range rounds {
		for i := g; i < things; i += gateways {
			id = id%0xffff + 1
			payload := fmt.Appendf(nil, `{"a":%d,"b":%d.5,"c":true,"d":"eco","e":{"f":%d}}`, i, i, i%7)
			out = wire.AppendPublish(out[:0], fmt.Sprintf("twins/unit-%06d/telemetry", i), id, false, payload)
			if _, err := nc.Write(out); err != nil {
				return nc, err
			}
			if open++; open == 100 {
				if err := drain(50); err != nil {
					return nc, err
				}
			}
		}
	}
	return nc, drain(0)
}
