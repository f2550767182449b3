// Command telemetry measures what samples cost: bytes on disk, reads beside PostgreSQL,
// and ingest and memory of the server.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/twofold-iot/twofold/bench/subject"
	"github.com/twofold-iot/twofold/bench/table"
)

type config struct {
	data     string
	server   string
	postgres string
	things   int
	memory   int
	run      time.Duration
}

func main() {
	var c config
	flag.StringVar(&c.data, "data", ".cache/bench", "directory for data; must be on a real disk")
	flag.StringVar(&c.server, "server", "bin/twofold", "the server's binary")
	flag.StringVar(&c.postgres, "postgres", "/usr/lib/postgresql/15/bin", "folder of the PostgreSQL programs; left out if it is not there")
	flag.IntVar(&c.things, "things", 20, "things whose day at 1 Hz goes to disk")
	flag.IntVar(&c.memory, "memory", 100_000, "things with five metrics each that are live; 0: leave it out")
	flag.DurationVar(&c.run, "run", 15*time.Second, "how long messages are sent")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, &c)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "telemetry:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, c *config) error {
	if err := os.MkdirAll(c.data, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	dir, err := os.MkdirTemp(c.data, "telemetry-")
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := fmt.Fprintf(w, "%s, commit %s\n", subject.Machine(), subject.Commit()); err != nil {
		return err
	}
	for _, part := range []func(context.Context, string, *config) ([]table.Figure, error){
		diskFigures, readFigures, postgresFigures, bulkFigures, mqttFigures, memoryFigures,
	} {
		figures, err := part(ctx, dir, c)
		if err != nil {
			return err
		}
		if err := table.Write(w, figures); err != nil {
			return err
		}
	}
	return nil
}
