// Command history measures what the past costs: bytes on disk, reads, proofs and
// expiry, with the same work in PostgreSQL and SQLite where they can do it. The
// engine and the store run in this process, on a clock that the load moves.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/twofold-iot/twofold/bench/table"
)

type config struct {
	data     string
	server   string
	things   int
	minutes  int
	deep     int
	million  int
	expire   int
	postgres string
	sqlite   string
}

func main() {
	var c config
	flag.StringVar(&c.data, "data", ".cache/bench", "directory for data; must be on a real disk")
	flag.StringVar(&c.server, "server", "bin/twofold", "the server's binary, for the feed")
	flag.IntVar(&c.things, "things", 1000, "things that report three numbers every minute")
	flag.IntVar(&c.minutes, "minutes", 3*24*60, "how long they do")
	flag.IntVar(&c.deep, "deep", 50_000, "states of the thing whose newest 1,000 are read")
	flag.IntVar(&c.million, "million", 1_000_000, "events of the thing whose state at an instant is read")
	flag.IntVar(&c.expire, "expire", 10_000_000, "events over 90 days, of which one day expires; 0: leave it out")
	flag.StringVar(&c.postgres, "postgres", "/usr/lib/postgresql/15/bin", "folder of the PostgreSQL programs; left out if it is not there")
	flag.StringVar(&c.sqlite, "sqlite", "sqlite3", "the SQLite shell; left out if it is not there")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, c)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "history:", err)
		os.Exit(1)
	}
}

type (
	figure    = table.Figure
	latencies = table.Latencies
)

func newFigure(what, value, goal string) figure { return figure{What: what, Value: value, Goal: goal} }

func run(ctx context.Context, w io.Writer, c config) (err error) {
	if err := os.MkdirAll(c.data, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	dir, err := os.MkdirTemp(c.data, "history-")
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, part := range []func(context.Context, string, *config) ([]figure, error){
		fleetFigures, groupOfOne, deepFigures, instantFigures, expiryFigures, streamFigures, othersFigures,
	} {
		figures, err := part(ctx, dir, &c)
		if err != nil {
			return err
		}
		if err := table.Write(w, figures); err != nil {
			return err
		}
	}
	return nil
}
