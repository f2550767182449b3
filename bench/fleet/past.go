package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twofold-iot/twofold/bench/load"
	"github.com/twofold-iot/twofold/bench/subject"
	"github.com/twofold-iot/twofold/bench/table"
	"github.com/twofold-iot/twofold/client"
)

// rounds is how often each thing is updated before and after the instant.
const rounds = 3

const (
	loadTime  = 5 * time.Minute
	queryTime = time.Minute
)

// past asks a server for the twins as they were in the middle of their updates.
func past(ctx context.Context, c config) (figures []table.Figure, err error) {
	if err := os.MkdirAll(c.data, 0o755); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	dir, err := os.MkdirTemp(c.data, "fleet-")
	if err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := subject.Twofold{Binary: c.server, Data: filepath.Join(dir, "twofold-data")}
	if s.MQTT, err = subject.FreeAddr(); err != nil {
		return nil, err
	}
	if s.HTTP, err = subject.FreeAddr(); err != nil {
		return nil, err
	}
	p, err := s.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Kill()) }()
	at, err := change(p, c)
	if err != nil {
		return nil, err
	}
	api, err := client.New("http://"+s.HTTP, client.Options{Timeout: queryTime})
	if err != nil {
		return nil, err
	}
	for _, what := range []string{"fleet of %d twins as of a past instant, over HTTP", "  the next question about that instant"} {
		if what[0] == 'f' {
			what = fmt.Sprintf(what, c.twins)
		}
		start := time.Now()
		page, err := api.Fleet(ctx, &client.FleetQuery{Where: fmt.Sprintf("reported.seq == %d", load.SeqBase+rounds), At: at.UTC().Format(time.RFC3339Nano), Limit: 1})
		if err != nil {
			return nil, err
		}
		took := time.Since(start)
		if page.Total != c.twins {
			return nil, fmt.Errorf("as of %s %d twins are in their state, want %d", at, page.Total, c.twins)
		}
		figures = append(figures, table.Figure{What: what, Value: took.Round(time.Microsecond).String(), Goal: verdict(took <= 2*time.Second, "≤ 2s")})
	}
	acted, err := bulk(ctx, api, c)
	return append(figures, acted), err
}

// bulk asks all things for a state, and looks whether each has it once.
func bulk(ctx context.Context, api *client.Client, c config) (table.Figure, error) {
	start := time.Now()
	done, err := api.FleetAct(ctx, &client.FleetAct{Where: "true", Expect: &c.twins, Desired: json.RawMessage(`{"level":1}`)})
	if err != nil {
		return table.Figure{}, err
	}
	took := time.Since(start)
	page, err := api.Fleet(ctx, &client.FleetQuery{Where: fmt.Sprintf("delta.level == 1 && version == %d", 2*rounds+1), Limit: 1})
	if err == nil && (done.Done != c.twins || page.Total != c.twins) {
		err = fmt.Errorf("%d things are done, %d have it once, want %d", done.Done, page.Total, c.twins)
	}
	return table.Figure{What: fmt.Sprintf("bulk desired to %d things, durable", c.twins), Value: took.Round(time.Millisecond).String(), Goal: verdict(took <= 10*time.Second, "≤ 10s")}, err
}

// change updates all things some times, and some times more after the instant that it
// returns.
func change(p *subject.Process, c config) (at time.Time, err error) {
	g, err := load.Open(load.Options{Addr: p.MQTT, ThingPrefix: "room-", Connections: 50, InFlight: 20, Things: c.twins, Payload: load.Reported3})
	if err != nil {
		return at, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	for round := range 2 * rounds {
		if round == rounds {
			<-time.After(5 * time.Millisecond) // the instant lies between two updates
			at = time.Now()
			<-time.After(5 * time.Millisecond)
		}
		if _, err := g.Once(loadTime); err != nil {
			return at, err
		}
	}
	return at, nil
}
