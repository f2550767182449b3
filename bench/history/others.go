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
		fs = append(fs, figure{"PostgreSQL is not installed: left out", "", ""})
	} else if fs, err = postgresFigures(ctx, dir, c, rows); err != nil {
		return nil, err
	}
	if path, _ := exec.LookPath(c.sqlite); path == "" {
		return append(fs, figure{"SQLite is not installed: left out", "", ""}), nil
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

// postgres is a cluster of its own, run by the user postgres if this one is root.
type postgres struct {
	bin, data, socket string
	asUser            []string
}

func (p *postgres) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	argv := append(append([]string{}, p.asUser...), append([]string{filepath.Join(p.bin, name)}, args...)...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // the operator's own programs
	cmd.Dir = p.socket
	return cmd
}

func (p *postgres) run(ctx context.Context, name string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := p.command(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, err, out.String())
	}
	return out.String(), nil
}

func (p *postgres) sql(ctx context.Context, sql string) (string, error) {
	return p.run(ctx, "psql", "-h", p.socket, "-p", "54329", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-Atqc", sql, "postgres")
}

func startPostgres(ctx context.Context, dir string, c *config) (*postgres, error) {
	socket, err := os.MkdirTemp("", "pg") // paths of sockets must be short
	if err != nil {
		return nil, err
	}
	p := &postgres{bin: c.postgres, data: filepath.Join(dir, "pg"), socket: socket}
	if err := os.Mkdir(p.data, 0o700); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		p.asUser = []string{"runuser", "-u", "postgres", "--"}
		if out, err := exec.CommandContext(ctx, "chown", "postgres", p.data, p.socket).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("give the folder to postgres: %w\n%s", err, out)
		}
	}
	if _, err := p.run(ctx, "initdb", "-D", p.data, "-U", "postgres", "-A", "trust"); err != nil {
		return nil, err
	}
	options := "-k " + p.socket + " -p 54329 -c listen_addresses= -c shared_buffers=1GB -c max_wal_size=4GB -c work_mem=64MB"
	_, err = p.run(ctx, "pg_ctl", "-D", p.data, "-w", "-l", filepath.Join(p.socket, "log"), "-o", options, "start")
	return p, err
}

func (p *postgres) stop(ctx context.Context) error {
	_, err := p.run(ctx, "pg_ctl", "-D", p.data, "-m", "fast", "stop")
	return errors.Join(err, os.RemoveAll(p.socket))
}

func postgresFigures(ctx context.Context, dir string, c *config, rows int) (fs []figure, err error) {
	p, err := startPostgres(ctx, dir, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop(context.WithoutCancel(ctx))) }()
	for _, table := range []string{"fleet", "deep"} {
		sql := fmt.Sprintf(`create table %[1]s (thing text, at timestamptz, version bigint, state jsonb, primary key (thing, at, version));
copy %[1]s from '%[2]s/%[1]s.csv' csv; `, table, dir)
		if _, err := p.sql(ctx, sql); err != nil {
			return nil, err
		}
		if _, err := p.sql(ctx, "vacuum analyze "+table); err != nil {
			return nil, err
		}
	}
	size, err := p.sql(ctx, "select pg_total_relation_size('fleet')")
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(size), 64)
	if err != nil {
		return nil, err
	}
	fs = append(fs, figure{fmt.Sprintf("PostgreSQL: disk per event with index, %d events", rows), fmt.Sprintf("%.0f bytes", n/float64(rows)), ""})
	script := filepath.Join(p.socket, "newest.sql")
	query := fmt.Sprintf("select at, version, state from deep where thing = '%s' order by at desc limit 1000;\n", thingName(0))
	if err := os.WriteFile(script, []byte(query), 0o644); err != nil { //nolint:gosec // another user reads it
		return nil, err
	}
	args := []string{"-h", p.socket, "-p", "54329", "-U", "postgres", "-n", "-c", "1", "-M", "prepared", "-f", script, "-t"}
	if _, err := p.run(ctx, "pgbench", append(args, "100", "postgres")...); err != nil { // to warm up
		return nil, err
	}
	if _, err := p.run(ctx, "pgbench", append(args, "300", "-l", "--log-prefix="+filepath.Join(p.socket, "newest"), "postgres")...); err != nil {
		return nil, err
	}
	l, err := transactionLog(p.socket)
	if err != nil {
		return nil, err
	}
	return append(fs, figure{fmt.Sprintf("PostgreSQL: newest 1,000 states of %d, prepared, over its socket", c.deep), l.String(), ""}), nil
}

// transactionLog reads the times that pgbench has logged, µs in the third column.
func transactionLog(dir string) (l latencies, err error) {
	logs, err := filepath.Glob(filepath.Join(dir, "newest.[0-9]*"))
	if err != nil {
		return nil, err
	}
	for _, path := range logs {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			fields := strings.Fields(line)
			if len(fields) < 3 {
				continue
			}
			us, err := strconv.Atoi(fields[2])
			if err != nil {
				return nil, err
			}
			l = append(l, time.Duration(us)*time.Microsecond)
		}
	}
	if len(l) == 0 {
		return nil, errors.New("pgbench has logged nothing")
	}
	return l, nil
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
			fs = append(fs, figure{fmt.Sprintf("SQLite: disk per event, %d events", rows), fmt.Sprintf("%.0f bytes", float64(info.Size())/float64(rows)), ""})
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
	return append(fs, figure{fmt.Sprintf("SQLite: newest 1,000 states of %d, in its own process, to the ms", c.deep), l[1:].String(), ""}), nil
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
