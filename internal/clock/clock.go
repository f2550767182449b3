// Package clock tells the time of a world that may run faster than this one: a server and
// its virtual devices that share a clock live through a day in minutes.
package clock

import (
	"fmt"
	"time"
)

// Limits of the speed.
const (
	SpeedMin = 1
	SpeedMax = 10_000
)

// Clock tells a time that runs at a speed. A nil clock is that of the machine.
type Clock struct {
	start time.Time // the first time that it told
	epoch time.Time // of the machine then, with its monotonic reading
	speed float64
}

// New returns a clock that shows start now and then runs speed times as fast as that of the
// machine, [SpeedMin] to [SpeedMax].
func New(start time.Time, speed float64) (*Clock, error) {
	if !(speed >= SpeedMin && speed <= SpeedMax) {
		return nil, fmt.Errorf("speed %g is not %d to %d", speed, SpeedMin, SpeedMax)
	}
	return &Clock{start: start.Round(0).UTC(), epoch: time.Now(), speed: speed}, nil
}

// Now returns the time.
func (c *Clock) Now() time.Time {
	if c == nil {
		return time.Now()
	}
	return c.start.Add(time.Duration(float64(time.Since(c.epoch)) * c.speed))
}

// Speed returns how many seconds of this clock a second of the machine has.
func (c *Clock) Speed() float64 {
	if c == nil {
		return 1
	}
	return c.speed
}

// Real returns how long d of this clock lasts on the machine.
func (c *Clock) Real(d time.Duration) time.Duration { return Real(d, c.Speed()) }

// Real returns how long d lasts on the machine at a speed; at 0, which is no speed, d itself.
func Real(d time.Duration, speed float64) time.Duration {
	if speed <= 1 || d <= 0 {
		return d
	}
	return max(time.Duration(float64(d)/speed), 1)
}
