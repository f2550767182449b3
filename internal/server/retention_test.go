package server

import (
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

func TestAgeValue(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90d": 90 * ageDay, "1y": ageYear, "forever": 0, "0": 0, "365d": ageYear, "200y": ageMax,
	} {
		got := time.Duration(1)
		if err := (ageValue{&got}).Set(text); err != nil || got != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
		again := time.Duration(1)
		if err := (ageValue{&again}).Set(ageValue{&got}.String()); err != nil || again != want {
			t.Errorf("%q is printed as %q", text, ageValue{&got}.String())
		}
	}
	for _, text := range []string{"", "d", "-1d", "0d", "1.5d", "90", "24h", "201y", "9999999999999y", "90 d", "never"} {
		kept := 5 * ageDay
		if err := (ageValue{&kept}).Set(text); err == nil || kept != 5*ageDay {
			t.Errorf("%q is taken as %s", text, kept)
		}
	}
}

// What is kept for a day is there for a whole day, whatever the hour.
func TestRetentionConfig_policy(t *testing.T) {
	c := RetentionConfig{History: 2 * ageDay}
	now := time.Date(2026, 11, 22, 23, 59, 59, 0, time.UTC)
	p := c.policy(now)
	first := twin.Time(int64(p[store.ClassHistory]) * ageDay.Milliseconds()).Std()
	if want := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC); !first.Equal(want) || len(p) != 1 {
		t.Fatalf("kept from %s on, want %s; %v", first, want, p)
	}
}
