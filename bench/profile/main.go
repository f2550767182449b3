// Command profile runs the write path in this process under load and writes a CPU
// and an allocation profile, to find where the time goes:
//
//	go run ./bench/profile -mode server -connections 200 -inflight 10
//	go tool pprof -top .cache/bench/cpu.prof
//
// Mode "import" is telemetry as CSV over HTTP, a sample each an update, as fast as it goes.
// Mode "server" is the whole path with the load from a second process; mode
// "engine" leaves out the doors: updates are handed to the engine of a store on
// disk, a fixed number at a time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/twofold-iot/twofold/bench/load"
	"github.com/twofold-iot/twofold/bench/subject"
)

type config struct {
	mode, data                    string
	connections, inFlight, things int
	length                        time.Duration
	generate                      string
}

func main() {
	var c config
	flag.StringVar(&c.mode, "mode", "server", `"server", "engine" or "import"`)
	flag.StringVar(&c.data, "data", ".cache/bench", "directory for data and profiles")
	flag.IntVar(&c.connections, "connections", 200, "connections")
	flag.IntVar(&c.inFlight, "inflight", 1, "updates in flight of each")
	flag.IntVar(&c.things, "things", 50_000, "things")
	flag.DurationVar(&c.length, "length", 5*time.Second, "time under load")
	flag.StringVar(&c.generate, "generate", "", "be the load generator for this MQTT address")
	flag.Parse()
	if err := run(c); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "profile:", err)
		os.Exit(1)
	}
}

func run(c config) error {
	if c.generate != "" {
		return c.generator()
	}
	if err := os.MkdirAll(c.data, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	dir, err := os.MkdirTemp(c.data, "profile-")
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	switch c.mode {
	case "engine":
		err = profileEngine(c, dir)
	case "import":
		err = profileImport(c, dir)
	case "server":
		err = profileServer(c, dir)
	default:
		err = fmt.Errorf("-mode %q is not known", c.mode)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// profiled runs f under a CPU profile and prints what the process used for each
// of the updates that f counts.
func profiled(c config, f func() (updates uint64, err error)) error {
	cpu, err := os.Create(filepath.Join(c.data, "cpu.prof"))
	if err != nil {
		return fmt.Errorf("make profile: %w", err)
	}
	defer func() { _ = cpu.Close() }()
	before, err := subject.ReadUsage(os.Getpid())
	if err != nil {
		return err
	}
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return fmt.Errorf("start profile: %w", err)
	}
	updates, err := f()
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	runtime.ReadMemStats(&m1)
	after, err := subject.ReadUsage(os.Getpid())
	if err != nil {
		return err
	}
	u, n := after.Since(before), float64(max(updates, 1))
	_, err = fmt.Printf("%d updates, %.0f/s; each %.1f us CPU, %.0f B to disk, %.1f allocations of %.0f B in all; %d GCs; RSS %.0f MB\n",
		updates, n/c.length.Seconds(), u.CPU.Seconds()*1e6/n, float64(u.DiskBytes)/n,
		float64(m1.Mallocs-m0.Mallocs)/n, float64(m1.TotalAlloc-m0.TotalAlloc)/n, m1.NumGC-m0.NumGC, float64(u.RSSBytes)/(1<<20))
	if err != nil {
		return err
	}
	return writeAllocs(filepath.Join(c.data, "allocs.prof"))
}

func writeAllocs(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make profile: %w", err)
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

// generator is the second process: it loads the address and prints what it did.
func (c config) generator() error {
	g, err := load.Open(load.Options{
		Addr: c.generate, ThingPrefix: "pump-", Connections: c.connections, InFlight: c.inFlight, Things: c.things,
	})
	if err != nil {
		return err
	}
	r, err := g.Run(c.length)
	if err = errors.Join(err, g.Close()); err != nil {
		return err
	}
	_, err = fmt.Printf("%d\n%.0f/s, p50 %s, p99 %s\n", r.Acked, r.PerSecond(), r.Latency.Quantile(0.5), r.Latency.Quantile(0.99))
	return err
}

// generate runs this program once more as the generator.
func (c config) runGenerator(addr string) (uint64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find own binary: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.length+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-generate", addr, "-connections", fmt.Sprint(c.connections),
		"-inflight", fmt.Sprint(c.inFlight), "-things", fmt.Sprint(c.things), "-length", c.length.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("generate load: %w", err)
	}
	var updates uint64
	if _, err := fmt.Sscan(string(out), &updates); err != nil {
		return 0, fmt.Errorf("read what the generator printed: %w", err)
	}
	_, err = os.Stdout.Write(out)
	return updates, err
}
