// Command jobs brings one job to many simulated things in waves, kills the server with
// SIGKILL on the way, and counts afterwards.
//
// The things are devices as the AWS SDK makes them: they hear of the job by notify-next,
// start it, say how it ended, and after a lost connection ask again what is next. They
// remember what they have done, whatever the server says. In the end the counts of the
// server must be those of the devices, the event log of each thing must have one start and
// one end, and no device may have been given a job that it had ended.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/bench/subject"
)

type config struct {
	server   string
	data     string
	things   int
	gateways int
	kills    int
	waves    int
	pause    time.Duration
	limit    time.Duration
}

func main() {
	var c config
	flag.StringVar(&c.server, "server", "bin/twofold", "the twofold binary")
	flag.StringVar(&c.data, "data", ".cache/bench", "directory for data; must be on a real disk")
	flag.IntVar(&c.things, "things", 10_000, "things that get the job")
	flag.IntVar(&c.gateways, "gateways", 200, "MQTT connections that stand for them; what comes for one must fit into the queue of a session")
	flag.IntVar(&c.kills, "kills", 1, "SIGKILLs, evenly over the job: one is half way")
	flag.IntVar(&c.waves, "waves", 10, "waves of one size")
	flag.DurationVar(&c.pause, "pause", 500*time.Millisecond, "between two waves")
	flag.DurationVar(&c.limit, "limit", 5*time.Minute, "of the whole run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	err := run(ctx, os.Stdout, c)
	cancel()
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "jobs:", err)
		os.Exit(1)
	}
}

const (
	senders = 32
	jobID   = "fw-2"
)

func run(ctx context.Context, w io.Writer, c config) (err error) {
	if c.things < 1 || c.things > 100_000 || c.gateways < 1 || c.gateways > c.things || c.waves < 1 || c.kills < 0 {
		return errors.New("give 1 to 100,000 things, fewer gateways, and a wave at least")
	}
	if err := os.MkdirAll(c.data, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	dir, err := os.MkdirTemp(c.data, "jobs-")
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{config: c, subject: subject.Twofold{Binary: c.server, Data: filepath.Join(dir, "data")}}
	b.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}}
	defer b.client.CloseIdleConnections()
	if b.subject.MQTT, err = subject.FreeAddr(); err != nil {
		return err
	}
	if b.subject.HTTP, err = subject.FreeAddr(); err != nil {
		return err
	}
	if b.process, err = b.subject.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.process.Stop()) }()
	if err := b.makeTwins(ctx); err != nil {
		return err
	}
	b.newFleet()
	if err := b.connect(ctx); err != nil {
		return errors.Join(err, b.disconnect())
	}
	took, err := b.job(ctx)
	if err := errors.Join(err, b.disconnect()); err != nil {
		return err
	}
	return b.check(ctx, w, took)
}

type bench struct {
	config
	subject subject.Twofold
	process *subject.Process
	client  *http.Client
	fleet   []*gateway

	mu     sync.Mutex
	ended  int
	faults []error
	more   chan struct{} // holds a token when ended has grown
}

func thing(n int) string { return fmt.Sprintf("pump-%05d", n) }

// makeTwins makes a twin of each thing.
func (b *bench) makeTwins(ctx context.Context) error {
	todo := make(chan int, b.things)
	for n := range b.things {
		todo <- n
	}
	close(todo)
	failed := make(chan error, senders)
	var group sync.WaitGroup
	for range senders {
		group.Go(func() {
			for n := range todo {
				if _, err := b.do(ctx, http.MethodPost, "/api/v1/twins", fmt.Sprintf(`{"deviceId":%q,"model":"pump"}`, thing(n))); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("make twins: %w", err)
	default:
		return nil
	}
}

// report is what the server says of the job.
type report struct {
	State  string
	Counts struct{ Waiting, Queued, InProgress, Succeeded, Failed, TimedOut, Rejected, Removed, Canceled int }
}

// job makes the job and kills the server on the way, until all devices have ended it.
func (b *bench) job(ctx context.Context) (time.Duration, error) {
	size := (b.things + b.waves - 1) / b.waves
	body := fmt.Sprintf(`{"id":%q,"document":{"operation":"update","version":"2.1.0"},"model":"pump","waves":[{"size":%d,"pause":%q}]}`, jobID, size, b.pause)
	begin := time.Now()
	if _, err := b.do(ctx, http.MethodPost, "/api/v1/jobs", body); err != nil {
		return 0, fmt.Errorf("make the job: %w", err)
	}
	for kill := 1; kill <= b.kills; kill++ {
		// In the middle of a wave, when much is under way.
		if err := b.await(ctx, max(1, b.things*kill/(b.kills+1)-size/2)); err != nil {
			return 0, err
		}
		if err := b.process.Kill(); err != nil {
			return 0, fmt.Errorf("kill: %w", err)
		}
		if err := b.disconnect(); err != nil {
			return 0, err
		}
		p, err := b.subject.Start(ctx)
		if err != nil {
			return 0, fmt.Errorf("start after kill %d: %w", kill, err)
		}
		b.process = p
		if err := b.connect(ctx); err != nil {
			return 0, err
		}
	}
	err := b.await(ctx, b.things)
	return time.Since(begin), err
}

// await waits until so many devices have ended the job.
func (b *bench) await(ctx context.Context, want int) error {
	for {
		b.mu.Lock()
		ended, faults := b.ended, b.faults
		b.mu.Unlock()
		switch {
		case len(faults) > 0:
			return fmt.Errorf("%d faults, the first: %w", len(faults), faults[0])
		case ended >= want:
			return nil
		}
		select {
		case <-b.more:
		case <-ctx.Done():
			answer, _ := b.do(context.WithoutCancel(ctx), http.MethodGet, "/api/v1/jobs/"+jobID, "") // to say more
			return fmt.Errorf("%d of %d devices have ended: %w; the server says %s", ended, want, ctx.Err(), answer)
		}
	}
}

// check compares the server with the devices.
func (b *bench) check(ctx context.Context, w io.Writer, took time.Duration) error {
	got, err := b.finished(ctx)
	if err != nil {
		return fmt.Errorf("look up the job: %w", err)
	}
	want := report{State: "completed"}
	starts, again := 0, 0
	for n, d := range b.devices() {
		switch outcome(n) {
		case "SUCCEEDED":
			want.Counts.Succeeded++
		case "FAILED":
			want.Counts.Failed++
		default:
			want.Counts.Rejected++
		}
		starts += d.starts
		again += d.again
	}
	if got != want {
		return fmt.Errorf("the server says %+v, the devices %+v", got, want)
	}
	events, err := b.events(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "machine: %s\ncommit:  %s\na job to %d things in %d waves, %d kill -9 on the way: %s\n"+
		"counts: %d succeeded, %d failed, %d rejected: those of the devices\n"+
		"starts: %d by %d devices; asked again after a kill and got the same one: %d; events: %d, one start and one end for each thing\n",
		subject.Machine(), subject.Commit(), b.things, b.waves, b.kills, took.Round(10*time.Millisecond),
		got.Counts.Succeeded, got.Counts.Failed, got.Counts.Rejected, starts, b.things, again, events)
	return err
}

// finished waits until the server has noted that the job is over, which is a moment after
// the last device has ended it.
func (b *bench) finished(ctx context.Context) (got report, err error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(finishTime); ; {
		answer, err := b.do(ctx, http.MethodGet, "/api/v1/jobs/"+jobID, "")
		if err == nil {
			err = json.Unmarshal(answer, &got)
		}
		if err != nil || got.State == "completed" || time.Now().After(end) {
			return got, err
		}
		<-tick.C
	}
}

const finishTime = 5 * time.Second

// events looks at the log of each thing.
func (b *bench) events(ctx context.Context) (total int, err error) {
	for n := range b.things {
		answer, err := b.do(ctx, http.MethodGet, "/api/v1/twins/"+thing(n)+"/events?kind=job&order=oldest", "")
		if err != nil {
			return 0, fmt.Errorf("read the events of %s: %w", thing(n), err)
		}
		var page struct{ Events []struct{ Type string } }
		if err := json.Unmarshal(answer, &page); err != nil {
			return 0, fmt.Errorf("read the events of %s: %w", thing(n), err)
		}
		var types []string
		for _, e := range page.Events {
			types = append(types, e.Type)
		}
		if got, want := strings.Join(types, " "), "queued in_progress "+strings.ToLower(outcome(n)); got != want {
			return 0, fmt.Errorf("the events of %s are %q, want %q", thing(n), got, want)
		}
		total += len(types)
	}
	return total, nil
}

// outcome is how a device ends the job.
func outcome(n int) string {
	switch {
	case n%50 == 7:
		return "FAILED"
	case n%100 == 42:
		return "REJECTED"
	}
	return "SUCCEEDED"
}

func (b *bench) do(ctx context.Context, method, path, body string) (answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+b.subject.HTTP+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if answer, err = io.ReadAll(res.Body); err != nil {
		return nil, err
	}
	if res.StatusCode > 299 {
		return nil, fmt.Errorf("%s %s: %s %s", method, path, res.Status, bytes.TrimSpace(answer))
	}
	return answer, nil
}
