package subject

import (
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

// Postgres is a PostgreSQL cluster of its own, run by the user postgres if this one is
// root. It listens on a socket in a folder only.
type Postgres struct {
	bin, data, socket string
	asUser            []string
}

func (p *Postgres) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	argv := append(append([]string{}, p.asUser...), append([]string{filepath.Join(p.bin, name)}, args...)...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // the operator's own programs
	cmd.Dir = p.socket
	return cmd
}

func (p *Postgres) run(ctx context.Context, name string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := p.command(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, err, out.String())
	}
	return out.String(), nil
}

// SQL runs statements and returns what they print, unaligned.
func (p *Postgres) SQL(ctx context.Context, sql string) (string, error) {
	return p.run(ctx, "psql", "-h", p.socket, "-p", "54329", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-Atqc", sql, "postgres")
}

// StartPostgres makes a cluster in a folder that does not exist yet and starts it with the
// programs of another folder.
func StartPostgres(ctx context.Context, programs, data string) (*Postgres, error) {
	socket, err := os.MkdirTemp("", "pg") // paths of sockets must be short
	if err != nil {
		return nil, err
	}
	p := &Postgres{bin: programs, data: data, socket: socket}
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

// Stop ends the cluster; its data stay.
func (p *Postgres) Stop(ctx context.Context) error {
	_, err := p.run(ctx, "pg_ctl", "-D", p.data, "-m", "fast", "stop")
	return errors.Join(err, os.RemoveAll(p.socket))
}

// Time runs a query, prepared and over the socket, so many times to warm up and then so many
// times, and returns how long each took.
func (p *Postgres) Time(ctx context.Context, query string, warm, times int) ([]time.Duration, error) {
	script := filepath.Join(p.socket, "query.sql")
	if err := os.WriteFile(script, []byte(query), 0o644); err != nil { //nolint:gosec // another user reads it
		return nil, err
	}
	prefix := filepath.Join(p.socket, "times")
	args := []string{"-h", p.socket, "-p", "54329", "-U", "postgres", "-n", "-c", "1", "-M", "prepared", "-f", script, "-t"}
	if _, err := p.run(ctx, "pgbench", append(args, strconv.Itoa(warm), "postgres")...); err != nil {
		return nil, err
	}
	if _, err := p.run(ctx, "pgbench", append(args, strconv.Itoa(times), "-l", "--log-prefix="+prefix, "postgres")...); err != nil {
		return nil, err
	}
	logs, err := filepath.Glob(prefix + ".[0-9]*")
	if err != nil {
		return nil, err
	}
	var took []time.Duration
	for _, path := range logs {
		if took, err = appendTimes(took, path); err != nil {
			return nil, err
		}
	}
	if len(took) == 0 {
		return nil, errors.New("pgbench has logged nothing")
	}
	return took, nil
}

// appendTimes reads the times that pgbench has logged, µs in the third column, and removes
// the file.
func appendTimes(took []time.Duration, path string) ([]time.Duration, error) {
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
		took = append(took, time.Duration(us)*time.Microsecond)
	}
	return took, os.Remove(path)
}
