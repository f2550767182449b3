package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/bench/subject"
)

// harness runs the cycles.
type harness struct {
	config  config
	dir     string
	server  subject.Twofold
	oracle  *oracle
	faults  *faults
	clients []client
	watch   []*watcher
	http    *http.Client
	rng     *rand.Rand
	started time.Time

	cycles    int
	idle      int // of them, those in which nothing was acknowledged
	underLoad time.Duration
	reopen    []time.Duration // from exec to ready
}

func newHarness(c config) (*harness, error) {
	if err := os.MkdirAll(c.data, 0o755); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	dir, err := os.MkdirTemp(c.data, "kill-")
	if err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	h := &harness{
		config: c, dir: dir, faults: &faults{},
		oracle: newOracle(c.seed, (c.devices+c.callers)*c.thingsEach),
		http:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: checkers}},
		rng:    rand.New(rand.NewPCG(c.seed, 0)),
	}
	h.server = subject.Twofold{Binary: c.server, Data: filepath.Join(dir, "twofold-data")}
	if h.server.MQTT, err = subject.FreeAddr(); err != nil {
		return nil, err
	}
	if h.server.HTTP, err = subject.FreeAddr(); err != nil {
		return nil, err
	}
	h.makeClients()
	return h, nil
}

func (h *harness) makeClients() {
	c := h.config
	for i := range c.devices + c.callers {
		things := h.oracle.things[i*c.thingsEach : (i+1)*c.thingsEach]
		rng := rand.New(rand.NewPCG(c.seed, uint64(i+1)))
		if i < c.devices {
			h.clients = append(h.clients, &device{
				oracle: h.oracle, faults: h.faults, plant: c.plant, rng: rng,
				id: fmt.Sprintf("kill-device-%d", i), things: things, window: c.window,
			})
			continue
		}
		h.clients = append(h.clients, &caller{
			oracle: h.oracle, faults: h.faults, plant: c.plant, rng: rng,
			id: fmt.Sprintf("kill-caller-%d", i), things: things,
			client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}},
		})
	}
	for i := range c.watchers {
		w := &watcher{
			faults: h.faults, id: fmt.Sprintf("kill-watcher-%d", i), last: make(map[string]uint32),
			things: h.oracle.things[i*c.thingsEach : (i+1)*c.thingsEach],
		}
		h.watch = append(h.watch, w)
		h.clients = append(h.clients, w)
	}
}

func (h *harness) run(ctx context.Context) error {
	h.started = time.Now()
	if err := h.subscribe(ctx); err != nil {
		return err
	}
	for h.more() {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped after %d cycles: %w", h.cycles, err)
		}
		if err := h.cycle(ctx); err != nil {
			return fmt.Errorf("cycle %d: %w", h.cycles+1, err)
		}
		h.cycles++
		if h.cycles%10 == 0 {
			h.log("%4d kills, %d updates acknowledged, %d faults, %s", h.cycles, h.oracle.acked(), h.faults.total(),
				time.Since(h.started).Round(time.Second))
		}
		if h.faults.total() > 0 {
			return nil
		}
	}
	return h.drain(ctx)
}

func (h *harness) more() bool {
	if h.config.cycles > 0 && h.cycles >= h.config.cycles {
		return false
	}
	return h.config.budget <= 0 || time.Since(h.started) < h.config.budget
}

// subscribe lets the watchers subscribe before the first update.
func (h *harness) subscribe(ctx context.Context) error {
	process, err := h.start(ctx)
	if err != nil {
		return err
	}
	p := h.phase()
	p.draining = true // nothing was sent, so a watcher ends as soon as it has subscribed
	for _, w := range h.watch {
		if err := w.live(ctx, p); err != nil {
			_ = process.Kill()
			return fmt.Errorf("subscribe: %w", err)
		}
	}
	return process.Kill()
}

func (h *harness) phase() *phase { return newPhase(h.server.MQTT, h.server.HTTP, h.config.devices) }

// cycle is one life of the server: start, check, load, kill.
func (h *harness) cycle(ctx context.Context) error {
	process, err := h.start(ctx)
	if err != nil {
		return err
	}
	if err := h.check(ctx); err != nil {
		_ = process.Kill()
		return err
	}
	p := h.phase()
	delay := h.config.killMin + time.Duration(h.rng.Int64N(int64(h.config.killMax-h.config.killMin)))
	acked := h.oracle.acked()
	wait := h.launch(ctx, p)
	began := h.load(ctx, p, process, delay)
	p.killed.Store(true)
	if err := process.Kill(); err != nil {
		return err
	}
	h.underLoad += time.Since(began)
	wait()
	if h.oracle.acked() == acked {
		h.idle++
	}
	return nil
}

// load waits until half of the devices are connected, then for the time given. It
// returns when that time began.
func (h *harness) load(ctx context.Context, p *phase, process *subject.Process, d time.Duration) (began time.Time) {
	halfway := p.halfway
	t := time.NewTimer(lifeMax)
	defer t.Stop()
	for began = time.Now(); ; {
		select {
		case <-halfway:
			halfway = nil
			began = time.Now()
			t.Reset(d)
		case <-t.C:
			if halfway != nil {
				h.faults.add(protocol, "half of the devices could not connect within %s", lifeMax)
			}
			return began
		case <-ctx.Done():
			return began
		case <-process.Exited():
			h.faults.add(protocol, "the server ended by itself: %v", process.End())
			return began
		}
	}
}

// launch starts all clients for a phase and returns what waits for their end. They
// end by themselves when the server is gone: what it has sent until then they
// still read.
func (h *harness) launch(ctx context.Context, p *phase) (wait func()) {
	var wg sync.WaitGroup
	for _, c := range h.clients {
		wg.Go(func() {
			if err := c.live(ctx, p); err != nil && !p.killed.Load() && ctx.Err() == nil {
				h.faults.add(protocol, "before the kill: %v", err)
			}
		})
	}
	return wg.Wait
}

// drain lets everything be acknowledged, and looks at the end state.
func (h *harness) drain(ctx context.Context) error {
	process, err := h.start(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = process.Kill() }() // after Stop there is nothing left to kill
	if err := h.check(ctx); err != nil {
		return err
	}
	p := h.phase()
	p.draining = true
	h.launch(ctx, p)()
	if err := h.check(ctx); err != nil {
		return err
	}
	for _, t := range h.oracle.things {
		if sent, acked := t.counts(); sent != acked {
			h.faults.add(protocol, "%s: %d updates sent, %d acknowledged at the end", t.name, sent, acked)
		}
	}
	return process.Stop()
}

func (h *harness) start(ctx context.Context) (*subject.Process, error) {
	began := time.Now()
	process, err := h.server.Start(ctx)
	if err != nil {
		return nil, err
	}
	h.reopen = append(h.reopen, time.Since(began))
	return process, nil
}

// checkers is how many things are looked up at a time.
const checkers = 16

// check looks up every thing and judges it.
func (h *harness) check(ctx context.Context) error {
	defer h.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, lifeMax)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, checkers)
	for w := range checkers {
		wg.Go(func() {
			for i := w; i < len(h.oracle.things) && errs[w] == nil; i += checkers {
				errs[w] = h.checkThing(ctx, h.oracle.things[i])
			}
		})
	}
	wg.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return fmt.Errorf("check: %w", errs[i])
	}
	return nil
}

func (h *harness) checkThing(ctx context.Context, t *thing) error {
	url := "http://" + h.server.HTTP + "/things/" + t.name + "/shadow"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := h.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyBytesMax))
	if err != nil {
		return err
	}
	var s shadow
	switch resp.StatusCode {
	case http.StatusNotFound: // judged as an empty shadow
	case http.StatusOK:
		if s, err = decodeShadow(body); err != nil {
			return err
		}
	default:
		return fmt.Errorf("get %s: %s: %s", t.name, resp.Status, body)
	}
	h.oracle.judge(t, s, h.faults)
	return nil
}

func (h *harness) log(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stdout, format+"\n", args...) // progress for a person
}
