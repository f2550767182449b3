package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/twofold-iot/twofold/internal/wire"
)

// watcher is a subscriber with a persistent session that must be told of every
// accepted update of its things, in version order, over all lives of the server.
// A message may come again only with DUP. Its things are those of one device, so
// that its queue stays far below the server's limit: what is beyond that limit is
// refused to nobody, and not what is checked here.
type watcher struct {
	faults *faults
	id     string
	things []*thing

	established, subscribed bool
	last                    map[string]uint32 // newest version seen, by thing
	messages, repeats       uint64
}

func (w *watcher) filters() (fs []string) {
	for _, t := range w.things {
		fs = append(fs, updateTopic(t)+"/accepted")
	}
	return fs
}

func (w *watcher) live(ctx context.Context, p *phase) error {
	nc, r, err := dialSession(ctx, p, w.id, &w.established, w.faults)
	if err != nil {
		return err
	}
	defer closeOn(ctx, nc)()
	if !w.subscribed {
		if _, err := nc.Write(wire.AppendSubscribe(nil, 1, w.filters()...)); err != nil {
			return fmt.Errorf("%s: subscribe: %w", w.id, err)
		}
	}
	var out, buf []byte
	for {
		if p.draining && w.subscribed && w.complete() {
			return nil
		}
		var packet wire.Packet
		packet, buf, err = wire.Read(r, buf)
		if err != nil {
			return fmt.Errorf("%s: %w", w.id, err)
		}
		out, err = w.received(out, packet)
		if err != nil {
			w.faults.add(protocol, "%s: %v", w.id, err)
			return err
		}
		if r.Buffered() > 0 {
			continue
		}
		if _, err := nc.Write(out); err != nil {
			return fmt.Errorf("%s: acknowledge: %w", w.id, err)
		}
		out = out[:0]
	}
}

// received takes one packet and appends the answer to it.
func (w *watcher) received(out []byte, p wire.Packet) ([]byte, error) {
	if p.First == wire.Suback && len(p.Body) >= 2 {
		if !bytes.Equal(p.Body[2:], bytes.Repeat([]byte{1}, len(w.things))) {
			return out, fmt.Errorf("subscription was not granted with QoS 1: %x", p.Body)
		}
		w.subscribed = true
		return out, nil
	}
	topic, id, payload, err := p.Message()
	if err != nil {
		return out, err
	}
	if id == 0 {
		return out, fmt.Errorf("%s came with QoS 0", topic)
	}
	thing := strings.TrimSuffix(strings.TrimPrefix(topic, "$aws/things/"), "/shadow/update/accepted")
	var doc struct{ Version uint32 }
	if err := json.Unmarshal(payload, &doc); err != nil {
		return out, fmt.Errorf("message %q on %s: %w", payload, topic, err)
	}
	w.messages++
	last := w.last[thing]
	switch {
	case doc.Version == last+1:
		w.last[thing] = doc.Version
	case doc.Version > last:
		w.faults.add(lost, "%s: accepted of %s jumps from version %d to %d", w.id, thing, last, doc.Version)
		w.last[thing] = doc.Version
	case p.First&wire.FlagDup != 0:
		w.repeats++
	default:
		w.faults.add(inverted, "%s: accepted of %s goes from version %d to %d", w.id, thing, last, doc.Version)
	}
	return wire.AppendPuback(out, id), nil
}

// complete reports whether everything sent was seen; while draining, nothing new
// is sent.
func (w *watcher) complete() bool {
	for _, t := range w.things {
		if sent, _ := t.counts(); w.last[t.name] < sent {
			return false
		}
	}
	return true
}
