package anomaly

import "math"

// pairs notices when metrics that go together no longer do, though each is usual by itself: a
// pump that draws the power of full load at half the flow.
type pairs struct {
	// products are decaying means of the products of standardised values, of the first metrics.
	products [pairsMax * (pairsMax - 1) / 2]moment
	breaks   [pairsMax]history
	smooth   [pairsMax]float64
}

const (
	pairsMax = 8
	// pairLeast is how many instants that have both are needed.
	pairLeast = 200
	// pairStrong is the correlation from which on one says something of the other.
	pairStrong = 0.8
)

// correlation is the name of the signal.
const correlation = "correlation"

// at is the place of a pair.
func (p *pairs) at(i, j int) *moment {
	if i < j {
		i, j = j, i
	}
	return &p.products[i*(i-1)/2+j]
}

// judge raises the parts of metrics that are not where the metric that goes with them best says.
// It reads the detectors after they have taken the values, which hardly moves what is
// usual over thousands of points.
func (p *pairs) judge(s *Several, readings []Reading, parts []Part) {
	if len(parts) < 2 {
		return
	}
	var z [pairsMax]float64
	var there [pairsMax]bool
	for _, x := range readings {
		if x.Metric >= pairsMax || x.State != "" {
			continue
		}
		if d := s.members[x.Metric].number; d != nil && d.slow.deviation() > 0 {
			z[x.Metric] = max(-8, min(8, (d.last-d.slow.mean)/d.slow.deviation()))
			there[x.Metric] = true
		}
	}
	for k := range parts {
		i := parts[k].Metric
		if i >= pairsMax || !there[i] {
			continue
		}
		best, by := 0.0, 0
		for j := range pairsMax {
			if j == i || !there[j] {
				continue
			}
			if m := p.at(i, j); m.weight >= pairLeast && math.Abs(m.mean) > math.Abs(best) {
				best, by = max(-1, min(1, m.mean)), j
			}
		}
		if math.Abs(best) < pairStrong {
			continue
		}
		off := math.Abs(z[i]-best*z[by]) / math.Sqrt(1-best*best+0.01)
		x := smoothed(&p.smooth[i], equivalent(p.breaks[i].add(off)))
		if x > parts[k].Surprise {
			parts[k].Surprise, parts[k].Signal = x, correlation
		}
	}
	for i := range pairsMax {
		for j := range i {
			if there[i] && there[j] {
				p.at(i, j).add(z[i]*z[j], slowLife)
			}
		}
	}
}

func (p *pairs) code(c *codec) {
	for i := range p.products {
		p.products[i].code(c)
	}
	for i := range p.breaks {
		p.breaks[i].code(c)
		c.number(&p.smooth[i])
	}
}
