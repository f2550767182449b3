package rul

import (
	"cmp"
	"math"
	"slices"
)

// Life is what a thing measured, in order of time.
type Life struct {
	Unit  string
	Times []float64
	Rows  [][]float64 // the measurements at each time, all of one length
}

// Sort puts the points in order of time. A measurement that is not there, NaN, is as it was before;
// at the beginning as it is first, and 0 if it never is.
func (l *Life) Sort() {
	order := make([]int, len(l.Times))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(l.Times[a], l.Times[b]) })
	times, rows := make([]float64, len(order)), make([][]float64, len(order))
	for i, at := range order {
		times[i], rows[i] = l.Times[at], l.Rows[at]
	}
	l.Times, l.Rows = times, rows
	for f := range rows[0] {
		first := slices.IndexFunc(rows, func(row []float64) bool { return !math.IsNaN(row[f]) })
		last := 0.0
		if first >= 0 {
			last = rows[first][f]
		}
		for _, row := range rows {
			if math.IsNaN(row[f]) {
				row[f] = last
			}
			last = row[f]
		}
	}
}

// normal is what is usual in each regime.
type normal struct {
	regimes         *regimes
	mean, deviation [][]float64 // by regime and measurement
	used            []int       // measurements that vary within a regime
	// index weighs them: together they tell more of the wear than each does.
	index []float64
}

// newNormal finds the regimes with which the measurements of a moment tell best what is left.
func newNormal(lives []Life, target func(left float64) float64) *normal {
	var rows [][]float64
	for i := range lives {
		rows = append(rows, lives[i].Rows...)
	}
	var best *normal
	least := math.Inf(1)
	for _, r := range findRegimes(rows) {
		n := normalOf(rows, r)
		if off := n.learnIndex(lives, target); best == nil || off < least {
			best, least = n, off
		}
	}
	return best
}

func normalOf(rows [][]float64, r *regimes) *normal {
	n := &normal{regimes: r}
	by := make([][][]float64, n.regimes.count())
	for _, row := range rows {
		r := n.regimes.of(row)
		by[r] = append(by[r], row)
	}
	width := len(rows[0])
	varies := make([]float64, width)
	for _, list := range by {
		mean, deviation := make([]float64, width), make([]float64, width)
		for f := range width {
			if len(list) > 0 {
				mean[f], deviation[f] = meanOf(list, f)
			}
			if deviation[f] > 0 {
				varies[f] += float64(len(list)) / float64(len(rows))
			}
		}
		n.mean, n.deviation = append(n.mean, mean), append(n.deviation, deviation)
	}
	for f, share := range varies {
		if share > 0.5 {
			n.used = append(n.used, f)
		}
	}
	return n
}

// standard are the measurements of a row in deviations from what is usual in its regime.
func (n *normal) standard(row []float64) []float64 {
	r := n.regimes.of(row)
	out := make([]float64, len(n.used), len(n.used)+1)
	index := 0.0
	for i, f := range n.used {
		if d := n.deviation[r][f]; d > 0 {
			out[i] = max(-far, min(far, (row[f]-n.mean[r][f])/d))
		}
		if n.index != nil {
			index += n.index[i] * out[i]
		}
	}
	if n.index != nil {
		out = append(out, index)
	}
	return out
}

// far bounds deviations.
const far = 10

// How many points the figures of a life are of.
const (
	short = 5
	long  = 30
)

// perMeasurement is how many figures there are of each measurement.
const perMeasurement = 6

// features are the figures of a life at each of its points.
func (n *normal) features(l *Life) [][]float64 {
	points := make([][]float64, len(l.Rows))
	for i, row := range l.Rows {
		points[i] = n.standard(row)
	}
	out := make([][]float64, len(points))
	for i := range points {
		out[i] = make([]float64, 1+perMeasurement*len(points[i]))
		out[i][0] = l.Times[i] - l.Times[0]
	}
	for f := range points[0] {
		s := sums{points: points, f: f}
		s.prefix()
		for i := range points {
			x := out[i][1+perMeasurement*f:]
			x[0] = s.mean(max(0, i+1-short), i+1)
			x[1] = s.mean(max(0, i+1-long), i+1)
			x[2] = s.mean(0, i+1)
			x[3] = s.slope(max(0, i+1-long), i+1)
			x[4] = s.slope(0, i+1)
			x[5] = s.mean(max(0, i+1-2*short), i+1) - s.mean(0, min(i+1, 2*short))
		}
	}
	return out
}

// sums give means and slopes over any stretch of a measurement.
type sums struct {
	points [][]float64
	f      int
	y, iy  []float64 // sums of the values, and of these times their numbers, of the first points
}

func (s *sums) prefix() {
	s.y, s.iy = make([]float64, len(s.points)+1), make([]float64, len(s.points)+1)
	for i, p := range s.points {
		s.y[i+1] = s.y[i] + p[s.f]
		s.iy[i+1] = s.iy[i] + float64(i)*p[s.f]
	}
}

func (s *sums) mean(from, to int) float64 { return (s.y[to] - s.y[from]) / float64(to-from) }

// slope is that of a line through the points, a point.
func (s *sums) slope(from, to int) float64 {
	n := float64(to - from)
	if n < short {
		return 0
	}
	middle := float64(from+to-1) / 2
	both := s.iy[to] - s.iy[from] - middle*(s.y[to]-s.y[from])
	return both / (n * (n*n - 1) / 12)
}
