package rul

// Life is what a thing measured, in order of time.
type Life struct {
	Unit  string
	Times []float64
	Rows  [][]float64 // the measurements at each time, all of one length
}

// normal is what is usual in each regime.
type normal struct {
	regimes         *regimes
	mean, deviation [][]float64 // by regime and measurement
	used            []int       // measurements that vary within a regime
}

func newNormal(lives []Life) *normal {
	var rows [][]float64
	for i := range lives {
		rows = append(rows, lives[i].Rows...)
	}
	n := &normal{regimes: findRegimes(rows)}
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
	out := make([]float64, len(n.used))
	for i, f := range n.used {
		if d := n.deviation[r][f]; d > 0 {
			out[i] = max(-far, min(far, (row[f]-n.mean[r][f])/d))
		}
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
		out[i] = make([]float64, 1+perMeasurement*len(n.used))
		out[i][0] = l.Times[i] - l.Times[0]
	}
	for f := range n.used {
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
