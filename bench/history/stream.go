package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twofold-iot/twofold/bench/subject"
	"github.com/twofold-iot/twofold/internal/wire"
)

const (
	streamReaders = 50
	streamRate    = 5000 // updates a second
	streamLines   = 25   // connections that send them
	streamTime    = 8 * time.Second
)

// streamWorld is a run of updates whose numbers the readers of the feed look for.
type streamWorld struct {
	sent, acked []atomic.Int64 // ns of update n, after start
	start       time.Time
	next        atomic.Int64

	mu                sync.Mutex
	fromSend, fromAck latencies
}

// streamFigures is how long an update takes to the readers of the feed.
func streamFigures(ctx context.Context, dir string, c *config) (fs []figure, err error) {
	mqtt, err := subject.FreeAddr()
	if err != nil {
		return nil, err
	}
	addr, err := subject.FreeAddr()
	if err != nil {
		return nil, err
	}
	p, err := subject.Twofold{Binary: c.server, Data: filepath.Join(dir, "stream"), MQTT: mqtt, HTTP: addr}.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	n := streamRate * int(streamTime/time.Second)
	w := &streamWorld{sent: make([]atomic.Int64, n), acked: make([]atomic.Int64, n), start: time.Now()}
	ctx, stop := context.WithTimeout(ctx, streamTime+20*time.Second)
	defer stop()
	var readers, lines sync.WaitGroup
	faults := make(chan error, streamReaders+streamLines)
	ready := make(chan struct{}, streamReaders)
	for range streamReaders {
		readers.Go(func() { faults <- w.read(ctx, addr, n, ready) })
	}
	for range streamReaders {
		select {
		case <-ready:
		case err := <-faults:
			return nil, err
		}
	}
	for i := range streamLines {
		lines.Go(func() { faults <- w.publish(mqtt, i) })
	}
	lines.Wait()
	readers.Wait()
	for range streamReaders + streamLines {
		err = errors.Join(err, <-faults)
	}
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("to %d readers of the feed, %d updates/s", streamReaders, streamRate)
	return []figure{
		newFigure("acknowledged → SSE, "+what, w.fromAck.String(), "p99 ≤ 10 ms"),
		newFigure("sent → SSE, the commit and its sync in between", w.fromSend.String(), ""),
	}, nil
}

// read follows the feed until it has seen all updates, in order and each once.
func (w *streamWorld) read(ctx context.Context, addr string, n int, ready chan<- struct{}) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/stream?kind=updated", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	ready <- struct{}{}
	var fromSend, fromAck latencies
	in := bufio.NewReaderSize(res.Body, 256<<10)
	for seen := 0; seen < n; {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("after %d of %d events: %w", seen, n, err)
		}
		_, rest, ok := bytes.Cut(line, []byte(`"n":`))
		if !ok {
			continue
		}
		now := time.Since(w.start)
		end := bytes.IndexAny(rest, ",}")
		k, err := strconv.Atoi(string(rest[:max(0, end)]))
		if err != nil || k >= n {
			return fmt.Errorf("event %q", line)
		}
		seen++
		fromSend = append(fromSend, now-time.Duration(w.sent[k].Load()))
		// The feed may be faster than the acknowledgement.
		if acked := time.Duration(w.acked[k].Load()); acked != 0 {
			fromAck = append(fromAck, max(0, now-acked))
		} else {
			fromAck = append(fromAck, 0)
		}
	}
	w.mu.Lock()
	w.fromSend, w.fromAck = append(w.fromSend, fromSend...), append(w.fromAck, fromAck...)
	w.mu.Unlock()
	return nil
}

// publish sends its part of the updates at its part of the rate.
func (w *streamWorld) publish(addr string, line int) error {
	nc, err := net.Dial("tcp", addr) //nolint:noctx // the deadline is set below
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	if err := nc.SetDeadline(time.Now().Add(streamTime + 20*time.Second)); err != nil {
		return err
	}
	if _, err := nc.Write(wire.AppendConnect(nil, fmt.Sprintf("line-%d", line), true)); err != nil {
		return err
	}
	in := bufio.NewReader(nc)
	if _, _, err := wire.Read(in, nil); err != nil {
		return err
	}
	count := len(w.sent) / streamLines
	ids := make([]atomic.Int64, count+1) // number of the update of a packet id
	acks := make(chan error, 1)
	go func() { acks <- w.readAcks(in, ids, count) }()
	tick := time.NewTicker(time.Second * streamLines / streamRate)
	defer tick.Stop()
	topic := fmt.Sprintf("$aws/things/line-%d/shadow/update", line)
	var out []byte
	for i := 1; i <= count; i++ {
		<-tick.C
		k := w.next.Add(1) - 1
		ids[i].Store(k)
		w.sent[k].Store(int64(time.Since(w.start)))
		out = wire.AppendPublish(out[:0], topic, uint16(i), false, fmt.Appendf(nil, `{"state":{"reported":{"n":%d}}}`, k))
		if _, err := nc.Write(out); err != nil {
			return err
		}
	}
	return <-acks
}

func (w *streamWorld) readAcks(in *bufio.Reader, ids []atomic.Int64, count int) error {
	var buf []byte
	for seen := 0; seen < count; {
		packet, rest, err := wire.Read(in, buf)
		if err != nil {
			return err
		}
		if buf = rest; packet.First != wire.Puback {
			continue
		}
		id, err := packet.PacketID()
		if err != nil {
			return err
		}
		w.acked[ids[id].Load()].Store(int64(time.Since(w.start)))
		seen++
	}
	return nil
}
