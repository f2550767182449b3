package models

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/twin"
)

// stay is a value that an attribute of reported had from one time to another.
type stay struct {
	value    twin.Value
	from, to twin.Time
	began    bool // in the window; else it had it before
}

// stays are the values of an attribute in a window, in order; false: there are more events in
// it than are read, and nothing is claimed.
func (p *Past) stays(path expr.Path, from twin.Time) ([]stay, bool, error) {
	end := p.Now + 1
	moments, err := p.History.Moments(p.Context, twin.ShadowKey{Thing: p.Thing}, from, end, history.MomentsMax)
	if err != nil {
		return nil, false, fmt.Errorf("read %s of %s: %w", path, p.Thing, err)
	}
	if len(moments) > 0 && moments[0].Time > from {
		return nil, false, nil
	}
	var list []stay
	open := false // the last one goes on
	for i, m := range moments {
		v, ok := reportedValue(m.Shadow, path)
		if open && ok && list[len(list)-1].value == v {
			continue
		}
		if open {
			list[len(list)-1].to = m.Time
		}
		if open = ok; ok {
			list = append(list, stay{value: v, from: m.Time, to: p.Now, began: i > 0})
		}
	}
	return list, true, nil
}

func reportedValue(s *twin.Shadow, path expr.Path) (twin.Value, bool) {
	if !s.Exists() {
		return twin.Value{}, false
	}
	n := s.Reported
	for _, name := range path[1:] {
		n = n.Member(name)
	}
	if n == nil {
		return twin.Value{}, false
	}
	return n.Value()
}

// ofStays is a figure that goes by how long an attribute had its values: those that a device
// does not report again hold all the same.
func (p *Past) ofStays(c *expr.Call) (twin.Value, bool, error) {
	from := p.from(c)
	switch c.Function {
	case "since", "last":
		from = max(1, p.Now-twin.Time(expr.WindowMax/time.Millisecond))
	case "ewma":
		from = max(1, p.Now-ewmaReach*twin.Time(c.Window/time.Millisecond))
	}
	list, complete, err := p.stays(c.Path, max(1, from))
	if err != nil || !complete {
		return twin.Value{}, false, err
	}
	switch c.Function {
	case "last":
		if len(list) == 0 {
			return twin.Value{}, false, nil
		}
		return list[len(list)-1].value, true, nil
	case "since":
		v, ok := p.sinceStay(list, c.State)
		return v, ok, nil
	case "duration":
		var held twin.Time
		for _, s := range list {
			if c.State.Type == 0 || s.value == c.State {
				held += s.to - s.from
			}
		}
		return twin.NumberValue(float64(held) / 1000), len(list) > 0, nil
	case "ewma":
		v, ok := ewmaOf(list, p.Now, c.Window)
		return v, ok, nil
	}
	v, ok := quantileOf(list, c.Percentile/100)
	return v, ok, nil
}

// sinceStay is for how long the present value has held, absent if it is not the one asked for, or
// if it is older than the window.
func (p *Past) sinceStay(list []stay, state twin.Value) (twin.Value, bool) {
	if len(list) == 0 {
		return twin.Value{}, false
	}
	last := &list[len(list)-1]
	if last.to < p.Now || !last.began || state.Type != 0 && last.value != state {
		return twin.Value{}, false
	}
	return twin.NumberValue(float64(p.Now-last.from) / 1000), true
}

// ewmaReach is how many windows back a number still weighs: what is older weighs less than a
// hundredth.
const ewmaReach = 5

// ewmaOf is the mean of a number by time, each moment weighted by exp(-age/window).
func ewmaOf(list []stay, now twin.Time, window time.Duration) (twin.Value, bool) {
	var sum, weight float64
	age := func(t twin.Time) float64 { return float64(now-t) / float64(window.Milliseconds()) }
	for _, s := range list {
		if s.value.Type != twin.ValueNumber {
			continue
		}
		w := math.Exp(-age(s.to)) - math.Exp(-age(s.from))
		sum += w * s.value.Number
		weight += w
	}
	return twin.NumberValue(sum / weight), weight > 0
}

// quantileOf is the number that is not exceeded for a share q of the time for which there was
// one.
func quantileOf(list []stay, q float64) (twin.Value, bool) {
	numbers := slices.DeleteFunc(slices.Clone(list), func(s stay) bool { return s.value.Type != twin.ValueNumber || s.to <= s.from })
	if len(numbers) == 0 {
		return twin.Value{}, false
	}
	slices.SortFunc(numbers, func(a, b stay) int { return cmp.Compare(a.value.Number, b.value.Number) })
	var all, held twin.Time
	for _, s := range numbers {
		all += s.to - s.from
	}
	for _, s := range numbers {
		if held += s.to - s.from; float64(held) >= q*float64(all) {
			return s.value, true
		}
	}
	return numbers[len(numbers)-1].value, true
}
