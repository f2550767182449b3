package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twofold-iot/twofold/bench/load"
	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func profileEngine(c config, dir string) error {
	s, err := pebblestore.Open(filepath.Join(dir, "store"), pebblestore.Options{Log: logger()})
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	e, err := engine.Open(logger(), s, engine.Options{Now: time.Now})
	if err != nil {
		return errors.Join(err, s.Close())
	}
	err = profiled(c, func() (uint64, error) { return closedLoop(c, e) })
	return errors.Join(err, e.Close(), s.Close())
}

// closedLoop keeps connections × inFlight updates with the engine until the time
// is up. Each callback submits the next one, parsing included.
func closedLoop(c config, e *engine.Engine) (uint64, error) {
	var (
		updates atomic.Uint64
		wg      sync.WaitGroup
		fault   atomic.Pointer[error]
		end     = time.Now().Add(c.length)
		lanes   = c.connections * c.inFlight
	)
	for lane := range lanes {
		wg.Add(1)
		thing, seq := lane, 0
		var next func(twin.Result)
		next = func(r twin.Result) {
			if r.Err != nil {
				fault.Store(&r.Err)
			}
			if r.Change != nil {
				updates.Add(1)
			}
			if r.Err != nil || time.Now().After(end) {
				wg.Done()
				return
			}
			if thing += lanes; thing >= c.things {
				thing = lane % c.things
				seq++
			}
			if err := submit(e, thing, seq, next); err != nil {
				fault.Store(&err)
				wg.Done()
			}
		}
		next(twin.Result{})
	}
	wg.Wait()
	if err := fault.Load(); err != nil {
		return 0, *err
	}
	return updates.Load(), nil
}

func submit(e *engine.Engine, thing, seq int, done func(twin.Result)) error {
	body := strings.Replace(load.Reported200, load.SeqMarker, fmt.Sprint(load.SeqBase+seq), 1)
	req, err := twin.ParseRequest([]byte(body), e.Limits())
	if err != nil {
		return err
	}
	return e.Submit(twin.Update{
		Key: twin.ShadowKey{Thing: twin.ThingName(load.ThingName("pump-", thing))}, Request: req,
		Origin: twin.Origin{Door: twin.DoorMQTT, Session: "lane"},
	}, done)
}
