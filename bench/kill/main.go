// Command kill loads a Twofold server, kills it with SIGKILL at random moments,
// starts it again, and looks whether it kept its promises: no acknowledged update
// lost, none applied twice, none out of order, no session and no message of a
// persistent session lost.
//
// What it compares with (the oracle) lives in this process and knows nothing of
// the server's insides. Each update carries a unique token and its number; one
// client writes for a thing. MQTT devices have persistent sessions and several
// packets in flight, and send again with DUP what was not acknowledged; HTTP
// clients repeat with the same Idempotency-Key.
//
// With -plant the harness itself breaks a rule, and the run succeeds only if it is
// red for that reason: a check that was never red proves nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"
)

type config struct {
	server, data, ledger string
	seed                 uint64
	cycles               int           // 0: as many as fit the budget
	budget               time.Duration // no new cycle after this
	devices, callers     int
	watchers             int
	thingsEach, window   int
	killMin, killMax     time.Duration
	plant                plant
}

// plant is a fault of the harness that the check has to find.
type plant string

const (
	plantNone        plant = ""
	plantEarlyAck    plant = "early-ack"    // an update counts as acknowledged before it is sent
	plantFreshResend plant = "fresh-resend" // what is sent again is sent as something new
)

func main() {
	var c config
	flag.StringVar(&c.server, "server", "bin/twofold", "the twofold binary")
	flag.StringVar(&c.data, "data", ".cache/bench", "directory for data")
	flag.StringVar(&c.ledger, "ledger", "", "file to append the result to, as a JSON line")
	flag.Uint64Var(&c.seed, "seed", 0, "seed of delays and choices; 0 takes a new one and prints it")
	flag.IntVar(&c.cycles, "cycles", 0, "kills; 0: as many as fit the budget")
	flag.DurationVar(&c.budget, "budget", time.Minute, "no new cycle after this time")
	flag.IntVar(&c.devices, "mqtt", 200, "MQTT devices")
	flag.IntVar(&c.callers, "http", 20, "HTTP clients")
	flag.IntVar(&c.watchers, "watchers", 20, "subscribers with persistent sessions, each of the things of one device")
	flag.IntVar(&c.thingsEach, "things", 4, "things of each client")
	flag.IntVar(&c.window, "inflight", 4, "packets in flight of a device")
	flag.DurationVar(&c.killMin, "kill-min", 50*time.Millisecond, "shortest time under load")
	flag.DurationVar(&c.killMax, "kill-max", 2*time.Second, "longest time under load")
	planted := flag.String("plant", "", `break a rule on purpose, "early-ack" or "fresh-resend": the run must find it`)
	flag.Parse()
	c.plant = plant(*planted)
	if c.seed == 0 {
		c.seed = rand.Uint64()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, c)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "kill:", err)
		os.Exit(1)
	}
}

func (c config) validate() error {
	var errs []error
	if c.window < 1 || c.window > inFlightMax {
		errs = append(errs, fmt.Errorf("-inflight %d, want 1 to %d", c.window, inFlightMax))
	}
	if c.devices < 1 || c.callers < 0 || c.watchers < 0 || c.thingsEach < 1 {
		errs = append(errs, errors.New("want at least one MQTT device and one thing each"))
	}
	if c.watchers > c.devices {
		errs = append(errs, fmt.Errorf("%d watchers for %d devices, want at most one each", c.watchers, c.devices))
	}
	if c.killMin < 0 || c.killMax <= c.killMin {
		errs = append(errs, fmt.Errorf("-kill-max %s is not after -kill-min %s", c.killMax, c.killMin))
	}
	if c.cycles == 0 && c.budget <= 0 {
		errs = append(errs, errors.New("give -cycles or -budget"))
	}
	switch c.plant {
	case plantNone, plantEarlyAck, plantFreshResend:
	default:
		errs = append(errs, fmt.Errorf("-plant %q is not known", c.plant))
	}
	return errors.Join(errs...)
}

// finds is the kind of fault that shows each planted one.
func (p plant) finds() faultKind {
	if p == plantEarlyAck {
		return lost
	}
	return doubled
}

// control judges a run with a planted fault.
func (h *harness) control() error {
	kind := h.config.plant.finds()
	if h.faults.counts()[kind.String()] == 0 {
		return fmt.Errorf("%s was planted and no update was found %s in %d kills: the check proves nothing", h.config.plant, kind, h.cycles)
	}
	h.log("control: %s was planted and found", h.config.plant)
	return nil
}

var errFaults = errors.New("the server broke a promise")

func run(ctx context.Context, c config) error {
	if err := c.validate(); err != nil {
		return err
	}
	h, err := newHarness(c)
	if err != nil {
		return err
	}
	h.log("seed %d: %d MQTT devices, %d HTTP clients, %d things, SIGKILL after %s to %s of load",
		c.seed, c.devices, c.callers, len(h.oracle.things), c.killMin, c.killMax)
	runErr := h.run(ctx)
	result := h.result(runErr)
	h.log("%s", result)
	switch {
	case runErr != nil:
	case c.plant != plantNone:
		runErr = h.control()
	case h.faults.total() > 0:
		runErr = fmt.Errorf("%w (seed %d):\n%s", errFaults, c.seed, h.faults.String())
	}
	if c.ledger != "" && (h.cycles > 0 || h.faults.total() > 0) { // else nothing was looked at
		runErr = errors.Join(runErr, result.appendTo(c.ledger))
	}
	if runErr != nil {
		h.log("data is kept in %s", h.dir)
		return runErr
	}
	return os.RemoveAll(h.dir)
}
