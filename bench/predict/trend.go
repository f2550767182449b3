package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twofold-iot/twofold/internal/anomaly"
	"github.com/twofold-iot/twofold/internal/predict"
	"github.com/twofold-iot/twofold/internal/trend"
)

// bearing watches a bearing until it fails: when there is an alarm, and what dates are said.
func bearing(dir string) error {
	const limit, ahead = 0.15, 2 * 24 * time.Hour
	paths, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(paths) == 0 {
		fmt.Printf("SKIPPED: there is no %s; the IMS bearing data (NASA repository) are not part of this repository\n", dir)
		return err
	}
	rows, err := table(paths[0])
	if err != nil {
		return err
	}
	var times []time.Time
	var values []float64
	for _, r := range rows[1:] {
		t, err := time.Parse("2006-01-02 15:04:05", r[0])
		if err != nil {
			return err
		}
		v, err := strconv.ParseFloat(r[1], 64)
		if err != nil {
			return err
		}
		times, values = append(times, t), append(values, v)
	}
	end := times[len(times)-1]
	fmt.Printf("IMS bearing test 2, bearing 1, %d rows, failed at the end\n", len(times))
	d := anomaly.New()
	early, first := 0, time.Duration(0)
	for i, t := range times {
		if r := d.Add(t, values[i]); r.Rising && r.Surprise >= predict.DefaultThreshold {
			// What is more than four days before is taken for no sign of it.
			if left := end.Sub(t); left > 4*24*time.Hour {
				early++
			} else if first == 0 {
				first = left
			}
		}
	}
	fmt.Printf("  alarm %.1f days before the end (goal %.0f), %d before that more than 4 days before\n", first.Hours()/24, ahead.Hours()/24, early)
	var points []trend.Point
	crossed := math.Inf(1)
	for i, t := range times {
		at := t.Sub(times[0]).Hours() / 24
		points = append(points, trend.Point{Time: at, Value: values[i]})
		if values[i] >= limit {
			crossed = min(crossed, at)
		}
	}
	fmt.Printf("  date at which it is first %.2f g, which is day %.2f, day by day:\n", limit, crossed)
	for day := 1.0; day < crossed; day += 0.5 {
		n := 0
		for n < len(points) && points[n].Time < day {
			n++
		}
		printForecast(day, trend.Of(points[:n], trend.Limit{Value: limit}), crossed)
	}
	return nil
}

func printForecast(at float64, f trend.Forecast, was float64) {
	if f.Reason != "" {
		fmt.Printf("    at %5.1f  no date: %s\n", at, f.Reason)
		return
	}
	holds := " "
	if f.Interval90[0] <= was && was <= f.Interval90[1] {
		holds = "*"
	}
	fmt.Printf("    at %5.1f  %.1f, off by %+.1f; 90 %%: %.1f to %.1f %s\n", at, f.Median, f.Median-was, f.Interval90[0], f.Interval90[1], holds)
}

// batteries predict the cycle at which cells have lost their capacity.
func batteries(dir string) error {
	const limit, from, step = 1.4, 60, 5
	paths, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(paths) == 0 {
		fmt.Printf("SKIPPED: there is no %s; the battery data (NASA Ames) are not part of this repository\n", dir)
		return err
	}
	rows, err := table(paths[0])
	if err != nil {
		return err
	}
	fmt.Printf("NASA batteries, end of life below %.1f Ah, from cycle %d on (* the interval holds it)\n", limit, from)
	for _, cell := range []string{"B0005", "B0006"} {
		var points []trend.Point
		end := 0.0
		for _, r := range rows[1:] {
			if r[0] != cell {
				continue
			}
			cycle, err1 := strconv.ParseFloat(r[1], 64)
			v, err2 := strconv.ParseFloat(r[4], 64)
			if err := errors.Join(err1, err2); err != nil {
				return err
			}
			if points = append(points, trend.Point{Time: cycle, Value: v}); v < limit && end == 0 {
				end = cycle
			}
		}
		in, n := 0, 0
		fmt.Printf("  %s, end of life at cycle %.0f\n", cell, end)
		for k := from; k < int(end); k += step {
			f := trend.Of(points[:k], trend.Limit{Value: limit, Below: true})
			printForecast(float64(k), f, end)
			n++
			if f.Reason == "" && f.Interval90[0] <= end && end <= f.Interval90[1] {
				in++
			}
		}
		fmt.Printf("  %s: the 90 %% interval holds it %d of %d times\n", cell, in, n)
	}
	return nil
}

func table(path string) ([][]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return csv.NewReader(f).ReadAll()
}
