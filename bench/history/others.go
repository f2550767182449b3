package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/bench/subject"
)

// othersFigures does what they can do in PostgreSQL and SQLite: each keeps a row per
// event, with the state, indexed by thing and time.
func othersFigures(ctx context.Context, dir string, c *config) (fs []figure, err error) {
	rows := min(c.things*c.minutes, 1_000_000)
	fleet, deep := filepath.Join(dir, "fleet.csv"), filepath.Join(dir, "deep.csv")
	if err := writeRows(fleet, dir+"/csv1", c.things, rows/c.things, time.Minute); err != nil {
		return nil, err
	}
	if err := writeRows(deep, dir+"/csv2", 1, c.deep, time.Minute); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // another user's server reads the files
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(c.postgres, "initdb")); err != nil {
		fs = append(fs, newFigure("PostgreSQL is not installed: left out", "", ""))
	} else if fs, err = postgresFigures(ctx, dir, c, rows); err != nil {
		return nil, err
	}
	if path, _ := exec.LookPath(c.sqlite); path == "" {
		return append(fs, newFigure("SQLite is not installed: left out", "", "")), nil
	}
	lite, err := sqliteFigures(ctx, dir, c, rows)
	return append(fs, lite...), err
}

// writeRows writes thing, time, version and state as CSV, the same as the engine gets.
func writeRows(path, scratch string, things, rounds int, every time.Duration) (err error) {
	w, err := openWorld(scratch, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close(), os.RemoveAll(scratch)) }()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	defer func() { err = errors.Join(err, out.Flush(), f.Close()) }()
	step := every.Milliseconds() / int64(things)
	for r := range rounds {
		start := epoch.UnixMilli() + int64(r)*every.Milliseconds()
		for k, i := range w.rng.Perm(things) {
			at := start + int64(k)*step + w.rng.Int64N(max(1, step))
			w.clock.Store(at)
			state := strings.ReplaceAll(w.report(i), `"`, `""`)
			if _, err := fmt.Fprintf(out, "%s,%s,%d,\"%s\"\n", thingName(i), time.UnixMilli(at).UTC().Format("2006-01-02T15:04:05.000Z"), r+1, state); err != nil {
				return err
			}
		}
	}
	return nil
}

func postgresFigures(ctx context.Context, dir string, c *config, rows int) (fs []figure, err error) {
	p, err := subject.StartPostgres(ctx, c.postgres, filepath.Join(dir, "pg"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Stop(context.WithoutCancel(ctx))) }()
	for _, table := range []string{"fleet", "deep"} {
		sql := fmt.Sprintf(`create table %[1]s (thing text, at timestamptz, version bigint, state jsonb, primary key (thing, at, version));
copy %[1]s from '%[2]s/%[1]s.csv' csv; `, table, dir)
		if _, err := p.SQL(ctx, sql); err != nil {
			return nil, err
		}
		if _, err := p.SQL(ctx, "vacuum analyze "+table); err != nil {
			return nil, err
		}
	}
	size, err := p.SQL(ctx, "select pg_total_relation_size('fleet')")
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(size), 64)
	if err != nil {
		return nil, err
	}
	fs = append(fs, newFigure(fmt.Sprintf("PostgreSQL: disk per event with index, %d events", rows), fmt.Sprintf("%.0f bytes", n/float64(rows)), ""))
	query := fmt.Sprintf("select at, version, state from deep where thing = '%s' order by at desc limit 1000;\n", thingName(0))
	times, err := p.Time(ctx, query, 100, 300)
	if err != nil {
		return nil, err
	}
	return append(fs, newFigure(fmt.Sprintf("PostgreSQL: newest 1,000 states of %d, prepared, over its socket", c.deep), latencies(times).String(), "")), nil
}

func sqliteFigures(ctx context.Context, dir string, c *config, rows int) ([]figure, error) {
	db := filepath.Join(dir, "lite.db")
	var fs []figure
	for _, table := range []string{"fleet", "deep"} {
		script := fmt.Sprintf("pragma journal_mode=wal;\ncreate table %[1]s (thing text, at text, version integer, state text, primary key (thing, at, version)) without rowid;\n.mode csv\n.import %[2]s/%[1]s.csv %[1]s\nvacuum;\npragma wal_checkpoint(truncate);\n", table, dir)
		if _, err := lite(ctx, c, db, script); err != nil {
			return nil, err
		}
		if table == "fleet" {
			info, err := os.Stat(db)
			if err != nil {
				return nil, err
			}
			fs = append(fs, newFigure(fmt.Sprintf("SQLite: disk per event, %d events", rows), fmt.Sprintf("%.0f bytes", float64(info.Size())/float64(rows)), ""))
		}
	}
	const times = 301
	query := fmt.Sprintf("select at, version, state from deep where thing = '%s' order by at desc, version desc limit 1000;\n", thingName(0))
	out, err := lite(ctx, c, db, ".timer on\n"+strings.Repeat(query, times))
	if err != nil {
		return nil, err
	}
	var l latencies
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, "Run Time: real "); ok {
			s, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				return nil, err
			}
			l = append(l, time.Duration(s*float64(time.Second)))
		}
	}
	if len(l) != times {
		return nil, fmt.Errorf("SQLite has told %d times in place of %d", len(l), times)
	}
	return append(fs, newFigure(fmt.Sprintf("SQLite: newest 1,000 states of %d, in its own process, to the ms", c.deep), l[1:].String(), "")), nil
}

func lite(ctx context.Context, c *config, db, script string) (string, error) {
	var out, faults bytes.Buffer
	cmd := exec.CommandContext(ctx, c.sqlite, db) //nolint:gosec // the operator's own program
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(script), &out, &faults
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("sqlite: %w\n%s", err, faults.String())
	}
	return out.String(), nil
}
