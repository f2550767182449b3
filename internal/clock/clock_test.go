package clock_test

import (
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/clock"
)

func TestClock(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c, err := clock.New(start, 3600)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	first := c.Now()
	for time.Since(began) < 20*time.Millisecond { // 72 s of the clock
		if now := c.Now(); now.Before(first) {
			t.Fatalf("%s is before %s", now, first)
		}
	}
	got, passed := c.Now().Sub(start), time.Since(began)
	if least := 3600 * 20 * time.Millisecond; got < least || got > 3600*(passed+10*time.Millisecond) {
		t.Errorf("%s passed, at least %s and at most %s", got, least, 3600*passed)
	}
	if d := c.Real(time.Hour); d != time.Second {
		t.Errorf("an hour takes %s, not 1s", d)
	}
	if c.Now().Location() != time.UTC {
		t.Error("the time is not in UTC")
	}
}

func TestClock_nil(t *testing.T) {
	var c *clock.Clock
	if d := time.Since(c.Now()); d < 0 || d > time.Minute {
		t.Errorf("%s from the time of the machine", d)
	}
	if c.Speed() != 1 || c.Real(time.Minute) != time.Minute {
		t.Errorf("speed %g, a minute takes %s", c.Speed(), c.Real(time.Minute))
	}
}

func TestNew_speed(t *testing.T) {
	for _, s := range []float64{0, -1, 0.5, 10_001} {
		if _, err := clock.New(time.Now(), s); err == nil {
			t.Errorf("speed %g is taken", s)
		}
	}
}
