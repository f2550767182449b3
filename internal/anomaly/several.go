package anomaly

import "time"

// Several reads points of several metrics and judges them together: the surprise of a point is
// that of its most surprising metric. It is not safe for concurrent use.
type Several struct {
	detectors []*Detector
	combined  history
	peak      float64
	n         int
}

// NewSeveral returns one for so many metrics.
func NewSeveral(metrics int) *Several {
	s := &Several{}
	for range metrics {
		s.detectors = append(s.detectors, New())
	}
	return s
}

// Add reads the next point, a value for each metric; NaN is none. It returns what is said of the
// point and the number of the metric that is the reason.
func (s *Several) Add(at time.Time, values []float64) (r Result, metric int) {
	for i, d := range s.detectors {
		if x := d.Add(at, values[i]); x.Surprise > r.Surprise {
			r, metric = x, i
		}
	}
	if len(s.detectors) == 1 || r.Surprise == 0 {
		return r, metric
	}
	p := s.combined.add(r.Surprise)
	if s.n++; s.n <= warmUp {
		return Result{}, metric
	}
	r.Score, r.Rising = 1-p, r.Surprise > s.peak
	s.peak = max(s.peak*peakDecay, r.Surprise)
	return r, metric
}
