package rul

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/twofold-iot/twofold/internal/boost"
)

// Limits of training.
const (
	// LivesMin is how many lives that ended are needed.
	LivesMin = 10
	rowsMost = 12_000 // instants that are learned from
	folds    = 5
)

// trees are how the trees of a fold grow.
var trees = boost.Params{Trees: 220, Rate: 0.05, Depth: 5, LeafRows: 20, RowShare: 0.5, FeatureShare: 0.3} //nolint:gochecknoglobals // read only

// Model predicts what is left of a life. It is safe for concurrent use.
type Model struct {
	Cap    float64 // remaining life beyond it is as good as it; 0: none
	normal *normal
	folds  []*boost.Model
	off    []miss // of instants of lives that a fold had not seen, by prediction
	lives  []profile
	Error  Error // on lives that were not seen
}

// Error is how good predictions are.
type Error struct {
	RMSE     float64 // root of the mean square
	Constant float64 // the same of the best constant
	Lives    int
	Instants int
}

// miss is a prediction and what was.
type miss struct{ predicted, was float64 }

// profile is a life that ended, for the likeness to others.
type profile struct {
	unit     string
	features [][]float64
	left     []float64
}

// Prediction is what is left of a life.
type Prediction struct {
	Left                   float64
	Interval50, Interval90 [2]float64
	Similar                []Similar
}

// Similar is a past life that was alike at an instant, with what was left then.
type Similar struct {
	Unit string
	Left float64
}

// Train learns from lives that ended with their last row. capped is the cap of the target, 0 for
// none.
func Train(lives []Life, capped float64) (*Model, error) {
	if len(lives) < LivesMin {
		return nil, fmt.Errorf("%d lives are too few, %d that ended are needed", len(lives), LivesMin)
	}
	m := &Model{Cap: capped}
	m.normal = newNormal(lives, m.target)
	if len(m.normal.used) == 0 {
		return nil, errors.New("no measurement varies")
	}
	points := 0
	for i := range lives {
		points += len(lives[i].Rows)
	}
	stride := max(1, (points+rowsMost-1)/rowsMost)
	byFold := make([]examples, folds)
	for i := range lives {
		p := profile{unit: lives[i].Unit, features: m.normal.features(&lives[i])}
		last := lives[i].Times[len(lives[i].Times)-1]
		for _, t := range lives[i].Times {
			p.left = append(p.left, m.target(last-t))
		}
		m.lives = append(m.lives, p)
		byFold[i%folds].add(&p, i%stride, stride)
	}
	m.fit(byFold)
	m.Error.Lives = len(lives)
	if m.Error.RMSE >= m.Error.Constant {
		return nil, fmt.Errorf("nothing is learned: on lives that were not seen it is off by %.3g, a constant by %.3g", m.Error.RMSE, m.Error.Constant)
	}
	return m, nil
}

// examples are instants to learn from.
type examples struct {
	rows    [][]float64
	targets []float64
}

func (e *examples) add(p *profile, from, stride int) {
	for i := from; i < len(p.left); i += stride {
		e.rows, e.targets = append(e.rows, p.features[i]), append(e.targets, p.left[i])
	}
}

func (m *Model) target(left float64) float64 {
	if m.Cap > 0 {
		return min(left, m.Cap)
	}
	return left
}

// fit fits a model without each fold, and tries it on that.
func (m *Model) fit(byFold []examples) {
	var squares, constant float64
	for k := range byFold {
		var seen examples
		mean := 0.0
		for j := range byFold {
			if j != k {
				seen.rows, seen.targets = append(seen.rows, byFold[j].rows...), append(seen.targets, byFold[j].targets...)
			}
		}
		for _, y := range seen.targets {
			mean += y / float64(len(seen.targets))
		}
		p := trees
		p.Seed = uint64(k)
		f := boost.Fit(seen.rows, seen.targets, p)
		m.folds = append(m.folds, f)
		for i, row := range byFold[k].rows {
			x := miss{m.bounded(f.Predict(row)), byFold[k].targets[i]}
			m.off = append(m.off, x)
			squares += (x.predicted - x.was) * (x.predicted - x.was)
			constant += (mean - x.was) * (mean - x.was)
		}
	}
	n := float64(len(m.off))
	m.Error.RMSE, m.Error.Constant, m.Error.Instants = math.Sqrt(squares/n), math.Sqrt(constant/n), len(m.off)
	slices.SortFunc(m.off, func(a, b miss) int { return cmp.Compare(a.predicted, b.predicted) })
}

func (m *Model) bounded(v float64) float64 {
	if m.Cap > 0 {
		v = min(v, m.Cap)
	}
	return max(v, 0)
}

// Predict says what is left of a life after its last row.
func (m *Model) Predict(l *Life) Prediction {
	all := m.normal.features(l)
	row := all[len(all)-1]
	var p Prediction
	for _, f := range m.folds {
		p.Left += f.Predict(row) / float64(len(m.folds))
	}
	p.Left = m.bounded(p.Left)
	p.Interval50, p.Interval90 = m.interval(p.Left, 0.5), m.interval(p.Left, 0.9)
	p.Similar = m.similar(row)
	return p
}

// neighbours is the share of what was tried, with about the same prediction, that an interval is
// taken from.
const neighbours = 0.1

// interval holds what is left with a probability, as often as it did where about the same was
// predicted of lives that were not seen.
func (m *Model) interval(left, share float64) [2]float64 {
	n := max(1, int(neighbours*float64(len(m.off))))
	at, _ := slices.BinarySearchFunc(m.off, left, func(x miss, v float64) int { return cmp.Compare(x.predicted, v) })
	from := max(0, min(at-n/2, len(m.off)-n))
	off := make([]float64, 0, n)
	for _, x := range m.off[from : from+n] {
		off = append(off, x.was-x.predicted)
	}
	slices.Sort(off)
	at = int(math.Floor((1 - share) / 2 * float64(n)))
	return [2]float64{max(0, left+off[at]), m.bounded(left + off[n-1-at])}
}

// similarKept is how many past lives are named.
const similarKept = 3

// similar finds the past lives that were most alike at any of their instants.
func (m *Model) similar(row []float64) []Similar {
	type found struct {
		Similar
		square float64
	}
	var list []found
	for i := range m.lives {
		p := &m.lives[i]
		best := found{square: math.Inf(1)}
		for j, f := range p.features {
			d := 0.0
			for k := 2; k < len(f); k += perMeasurement { // the means over the longer stretch
				d += (f[k] - row[k]) * (f[k] - row[k])
			}
			if d < best.square {
				best = found{Similar{p.unit, p.left[j]}, d}
			}
		}
		list = append(list, best)
	}
	slices.SortFunc(list, func(a, b found) int { return cmp.Compare(a.square, b.square) })
	var out []Similar
	for _, x := range list[:min(len(list), similarKept)] {
		out = append(out, x.Similar)
	}
	return out
}
