package server

import (
	"maps"
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
	p := c.policy(now, nil)
	first := twin.Time(int64(p[store.ClassHistory]) * ageDay.Milliseconds()).Std()
	if want := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC); !first.Equal(want) || len(p) != 1 {
		t.Fatalf("kept from %s on, want %s; %v", first, want, p)
	}
}

// A model has its own ages, for what it leaves out those of all, and those of all when it
// is in the configuration no more.
func TestRetentionConfig_models(t *testing.T) {
	c := RetentionConfig{History: 90 * ageDay, Events: ageYear, Models: map[string]*ModelRetention{
		"pump": {30 * ageDay, 2 * ageYear, ageUnset, ageUnset}, "valve": {ageUnset, 0, ageUnset, ageUnset},
	}}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	p := c.policy(now, map[string]store.Group{"pump": 1, "valve": 2, "removed": 7})
	today := twin.TimeOf(now).Day()
	want := store.Policy{0: today - 90, 1: today - 365, 2: today - 30, 3: today - 730, 4: today - 90, 14: today - 90, 15: today - 365}
	if !maps.Equal(p, want) {
		t.Fatalf("policy %v, want %v", p, want)
	}
	if days := c.days(false); days != 0 {
		t.Errorf("%d days are kept, but events of valves for ever", days)
	}
	delete(c.Models, "valve")
	if days := c.days(false); days != 731 {
		t.Errorf("%d days are kept, want 731", days)
	}
}
