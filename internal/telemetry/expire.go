package telemetry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// Ages say how long something is kept: by class, zero for ever.
type Ages [2]time.Duration

// NewAges returns the ages of samples and of rollups.
func NewAges(samples, rollups time.Duration) Ages {
	return Ages{store.ClassSamples: samples, store.ClassRollups: rollups}
}

// Retention says how long telemetry is kept.
type Retention struct {
	// All are the ages that there are: of everything, of models, of metrics.
	All []Ages
	// Of returns the ages of a metric of a thing.
	Of func(twin.ThingName, twin.MetricName) Ages
}

// Expired says what an Expire did.
type Expired struct {
	Days   int // of which something went, of all series or of some
	Series int // of which a day went alone, because they are kept shorter than others
}

// Expire deletes samples and rollups by whole UTC days, those that are older to their last
// millisecond than what is to be kept. One call at a time. What came after its day had
// expired is kept until the day expires of all series.
func (t *Telemetry) Expire(ctx context.Context, now time.Time, keep Retention) (e Expired, err error) {
	for _, class := range []store.SampleClass{store.ClassSamples, store.ClassRollups} {
		days, err := t.store.ColumnDays(ctx, class)
		if err != nil {
			return e, err
		}
		all := lastDay(now, longest(keep.All, class))
		if err := t.store.DropColumns(ctx, class, all); err != nil {
			return e, fmt.Errorf("let telemetry expire: %w", err)
		}
		for _, d := range days {
			if d.Day < all {
				e.Days++
				continue
			}
			n, err := t.trim(ctx, now, class, d.Day, keep)
			if err != nil {
				return e, err
			}
			if e.Series += n; n > 0 {
				e.Days++
			}
		}
	}
	return e, nil
}

// trim deletes a day of those series that are kept for a shorter time, the first time that
// it is past one of the ages.
func (t *Telemetry) trim(ctx context.Context, now time.Time, class store.SampleClass, day uint32, keep Retention) (int, error) {
	past := 0
	for _, a := range keep.All {
		if a[class] > 0 && day < lastDay(now, a[class]) {
			past++
		}
	}
	key := trimKey{class, day}
	if past <= t.trimmed[key] {
		return 0, nil
	}
	n, err := t.store.TrimColumns(ctx, class, day, func(thing twin.ThingName, of store.Series) bool {
		age := keep.Of(thing, of.Metric)[class]
		return age > 0 && day < lastDay(now, age)
	})
	if err != nil {
		return 0, fmt.Errorf("let telemetry expire: %w", err)
	}
	if t.trimmed == nil {
		t.trimmed = make(map[trimKey]int)
	}
	t.trimmed[key] = past
	return n, nil
}

// trimKey is a day of a class; how many ages it was past when it was trimmed is kept as
// long as the program runs.
type trimKey struct {
	class store.SampleClass
	day   uint32
}

// longest is the longest age of a class, zero if something is kept for ever.
func longest(all []Ages, class store.SampleClass) (age time.Duration) {
	for _, a := range all {
		if a[class] == 0 {
			return 0
		}
		age = max(age, a[class])
	}
	return age
}

// lastDay is the first day that is kept for an age; zero, for ever, keeps all.
func lastDay(now time.Time, age time.Duration) uint32 {
	if age == 0 {
		return 0
	}
	return twin.TimeOf(now.Add(-age)).Day()
}

// DropOldest deletes the samples of the oldest day, of all series, if it is before a day.
// Rollups stay.
func (t *Telemetry) DropOldest(ctx context.Context, before uint32) (dropped store.DayStats, ok bool, err error) {
	days, err := t.store.ColumnDays(ctx, store.ClassSamples)
	if err != nil || len(days) == 0 || days[0].Day >= before {
		return dropped, false, err
	}
	if err := t.store.DropColumns(ctx, store.ClassSamples, days[0].Day+1); err != nil {
		return dropped, false, fmt.Errorf("drop telemetry: %w", err)
	}
	return days[0], true, nil
}

// MetricRule gives metrics ages of their own.
type MetricRule struct {
	Model  string // of the things; empty: all
	Metric string // a name, or the beginning of names with * at the end
	Ages   Ages
}

// Matches says whether the rule is for a metric of a thing of a model.
func (r *MetricRule) Matches(model string, metric twin.MetricName) bool {
	if r.Model != "" && r.Model != model {
		return false
	}
	if n := len(r.Metric) - 1; n >= 0 && r.Metric[n] == '*' {
		return len(metric) >= n && string(metric[:n]) == r.Metric[:n]
	}
	return string(metric) == r.Metric
}

// RuleOf returns the first rule that matches, nil if none does.
func RuleOf(rules []MetricRule, model string, metric twin.MetricName) *MetricRule {
	i := slices.IndexFunc(rules, func(r MetricRule) bool { return r.Matches(model, metric) })
	if i < 0 {
		return nil
	}
	return &rules[i]
}
