package main

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// nabFile is one series of the Numenta Anomaly Benchmark with the windows in which an alarm
// is right.
type nabFile struct {
	name    string // folder/file
	times   []time.Time
	values  []float64
	windows [][2]int // rows, both inside
}

// nabProfile weighs what a detector finds, misses and says wrongly.
type nabProfile struct{ tp, fn, fp float64 }

// nabProfiles are the three of the benchmark.
//
// Source: Lavin and Ahmad, "Evaluating Real-Time Anomaly Detection Algorithms – the Numenta
// Anomaly Benchmark", 2015, and its config/profiles.json.
var nabProfiles = []struct {
	name string
	nabProfile
}{
	{"standard", nabProfile{1, 1, 0.11}}, {"low FP", nabProfile{1, 1, 0.22}}, {"low FN", nabProfile{1, 2, 0.11}},
}

func readNAB(dir string) ([]*nabFile, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "labels", "combined_windows.json"))
	if err != nil {
		return nil, err
	}
	var windows map[string][][2]string
	if err := json.Unmarshal(raw, &windows); err != nil {
		return nil, err
	}
	var files []*nabFile
	for _, name := range slices.Sorted(maps.Keys(windows)) {
		f := &nabFile{name: name}
		if err := f.read(filepath.Join(dir, "data", name)); os.IsNotExist(err) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, w := range windows[name] {
			var rows [2]int
			for i, text := range w {
				t, err := time.Parse("2006-01-02 15:04:05.999999", text)
				if err != nil {
					return nil, err
				}
				// The first row at or after the begin, the last at or before the end.
				rows[i], _ = slices.BinarySearchFunc(f.times, t, time.Time.Compare)
				if i == 1 && (rows[i] == len(f.times) || f.times[rows[i]].After(t)) {
					rows[i]--
				}
			}
			f.windows = append(f.windows, rows)
		}
		files = append(files, f)
	}
	return files, nil
}

func (f *nabFile) read(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was only read
	rows, err := csv.NewReader(in).ReadAll()
	if err != nil {
		return err
	}
	for _, r := range rows[1:] {
		t, err := time.Parse("2006-01-02 15:04:05", r[0])
		if err != nil {
			return err
		}
		v, err := strconv.ParseFloat(r[1], 64)
		if err != nil {
			return err
		}
		f.times, f.values = append(f.times, t), append(f.values, v)
	}
	return nil
}

// readPublished reads the scores of a published detector by file.
func readPublished(path string) (map[string][]float64, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // it was only read
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	scores := map[string][]float64{}
	r := csv.NewReader(z)
	header, err := r.Read()
	if err != nil {
		return nil, err
	}
	file, score := slices.Index(header, "file"), len(header)-1
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return scores, nil
		}
		if err != nil {
			return nil, err
		}
		v, err := strconv.ParseFloat(row[score], 64)
		if err != nil {
			return nil, err
		}
		scores[row[file]] = append(scores[row[file]], v)
	}
}

// probation is how many rows at the beginning are not judged.
func probation(n int) int { return min(int(0.15*float64(n)), 750) }

func nabSigmoid(x float64) float64 {
	if x > 3 {
		return -1
	}
	return 2/(1+math.Exp(5*x)) - 1
}

// nabRow is a row that is judged.
type nabRow struct {
	score  float64
	window int     // number of its window over all files; -1: outside
	worth  float64 // credit of an alarm inside, in units of the weight; cost outside
}

// nabRows lists the rows of files with their scores, and counts the windows.
func nabRows(files []*nabFile, scores map[string][]float64) (rows []nabRow, windows int) {
	for _, f := range files {
		start := probation(len(f.values))
		numbers := make([]int, len(f.windows))
		for i, w := range f.windows {
			numbers[i] = -1
			if w[1] >= start {
				numbers[i] = windows
				windows++
			}
		}
		s := scores[f.name]
		next, last := 0, -1
		for i := start; i < len(f.values); i++ {
			for next < len(f.windows) && f.windows[next][1] < i {
				last = next
				next++
			}
			r := nabRow{score: s[i], window: -1, worth: -1}
			switch {
			case next < len(f.windows) && i >= f.windows[next][0]:
				l, end := f.windows[next][0], f.windows[next][1]
				r.window = numbers[next]
				r.worth = nabSigmoid(-float64(end-i+1)/float64(end-l+1)) / nabSigmoid(-1)
			case last >= 0:
				w := f.windows[last]
				r.worth = nabSigmoid(float64(i-w[1]) / float64(w[1]-w[0]))
			}
			rows = append(rows, r)
		}
	}
	return rows, windows
}

// nabResult is what a threshold comes to.
type nabResult struct {
	threshold, score float64
	found, windows   int
	wrong            int // alarm rows outside of windows
	rows             int
}

// nabSweep judges every threshold and returns the best one for a profile, or that at a given
// threshold.
func nabSweep(files []*nabFile, scores map[string][]float64, p nabProfile, at *float64) nabResult {
	rows, windows := nabRows(files, scores)
	slices.SortFunc(rows, func(a, b nabRow) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return 0
	})
	null := -p.fn * float64(windows)
	raw := null
	best := make([]float64, windows)
	for i := range best {
		best[i] = math.Inf(-1)
	}
	cur := nabResult{threshold: math.Inf(1), windows: windows, rows: len(rows)}
	result := cur
	for i := range rows {
		r := &rows[i]
		if at != nil && r.score < *at {
			break
		}
		if r.window < 0 {
			raw += p.fp * r.worth
			cur.wrong++
		} else if w := best[r.window]; r.worth > w {
			if math.IsInf(w, -1) {
				raw += p.fn
				w = 0
				cur.found++
			}
			raw += p.tp * (r.worth - w)
			best[r.window] = r.worth
		}
		if i+1 < len(rows) && rows[i+1].score == r.score {
			continue
		}
		cur.threshold = r.score
		cur.score = 100 * (raw - null) / (float64(windows)*p.tp - null)
		if at != nil || cur.score > result.score {
			result = cur
		}
	}
	return result
}
