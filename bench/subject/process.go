package subject

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Process is a running server.
type Process struct {
	Name string // "twofold" or "mosquitto"
	MQTT string // host:port
	HTTP string // host:port; empty for mosquitto

	cmd    *exec.Cmd
	out    *tail
	exited chan struct{} // closed when the process is gone

	mu      sync.Mutex
	waitErr error // why it went
}

const (
	startTime = 30 * time.Second // until a server answers
	stopTime  = 20 * time.Second // from SIGTERM to the end
	probeTick = 2 * time.Millisecond
)

// Twofold describes a server to start. Ports stay the same over restarts.
type Twofold struct {
	Binary     string
	Data       string   // data directory
	MQTT, HTTP string   // host:port; see [FreeAddr]
	Args       []string // more arguments of serve
}

// Start starts the server and waits until it says that it is ready.
func (t Twofold) Start(ctx context.Context) (*Process, error) {
	args := append([]string{"serve", "--data", t.Data, "--mqtt", t.MQTT, "--http", t.HTTP}, t.Args...)
	p, err := start("twofold", t.Binary, args...)
	if err != nil {
		return nil, err
	}
	p.MQTT, p.HTTP = t.MQTT, t.HTTP
	if err := p.await(ctx, func() error { return ready(ctx, "http://"+t.HTTP+"/readyz") }); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return p, nil
}

// StartMosquitto starts Debian's mosquitto without persistence, without logging
// and without a limit on packets in flight, configuration in dir.
func StartMosquitto(ctx context.Context, dir string) (*Process, error) {
	binary, err := findMosquitto()
	if err != nil {
		return nil, err
	}
	addr, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("mosquitto address: %w", err)
	}
	conf := filepath.Join(dir, "mosquitto.conf")
	text := "listener " + port + " " + host + "\nallow_anonymous true\npersistence false\nlog_dest none\n" +
		"max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write mosquitto configuration: %w", err)
	}
	p, err := start("mosquitto", binary, "-c", conf)
	if err != nil {
		return nil, err
	}
	p.MQTT = addr
	if err := p.await(ctx, func() error { return dial(addr) }); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return p, nil
}

func findMosquitto() (string, error) {
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("mosquitto is not installed: apt-get install mosquitto")
}

func start(name, binary string, args ...string) (*Process, error) {
	p := &Process{Name: name, cmd: exec.Command(binary, args...), out: &tail{}, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	// The child dies with the benchmark, even if that is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		err := p.cmd.Wait()
		p.mu.Lock()
		p.waitErr = err
		p.mu.Unlock()
		close(p.exited)
	}()
	return p, nil
}

// await calls probe until it succeeds, the process ends or the time is up.
func (p *Process) await(ctx context.Context, probe func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(probeTick)
	defer tick.Stop()
	for {
		err := probe()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return fmt.Errorf("not ready: %w", p.End())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", p.Name, err, p.out)
		}
	}
}

// End tells how the process ended and the end of what it printed, or only the
// latter while it runs.
func (p *Process) End() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended: %w\n%s", p.Name, p.exitError(), p.out)
	default:
		return fmt.Errorf("%s still runs\n%s", p.Name, p.out)
	}
}

func (p *Process) exitError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waitErr == nil {
		return errors.New("exit code 0")
	}
	return p.waitErr
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the process is gone.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Kill ends the process with SIGKILL and waits for its end.
func (p *Process) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.exited
	return nil
}

// Stop asks the process to stop, and kills it if it does not.
func (p *Process) Stop() error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	t := time.NewTimer(stopTime)
	defer t.Stop()
	select {
	case <-p.exited:
		return nil
	case <-t.C:
		return errors.Join(fmt.Errorf("%s did not stop within %s\n%s", p.Name, stopTime, p.out), p.Kill())
	}
}

// Pause stops the process from running until [Process.Resume].
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume lets a paused process run on.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to %s: %w", s, p.Name, err)
	}
	return nil
}

// FreeAddr returns a loopback address with a port nobody listens on. It is below
// the ports that the kernel gives to clients, so that while a killed server is
// down no client connection can take it (or connect to itself).
func FreeAddr() (string, error) {
	const low, high, tries = 15_000, 30_000, 100
	for range tries {
		addr := "127.0.0.1:" + strconv.Itoa(low+rand.IntN(high-low))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return "", fmt.Errorf("probe %s: %w", addr, err)
		}
		return addr, nil
	}
	return "", fmt.Errorf("no free port between %d and %d in %d tries", low, high, tries)
}

func dial(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	return c.Close()
}

func ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if err := resp.Body.Close(); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("probe %s: %s", url, resp.Status)
	}
	return nil
}

// tail keeps the last bytes written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailBytesMax = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - tailBytesMax; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
