// Package boost fits gradient-boosted regression trees: the sum of many small trees, each of
// which corrects a little of what those before it are off by.
//
// Values are put into bins by their quantiles, and splits are found on histograms of bins, of
// which that of the larger child is the difference of the others.
//
// Sources: Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", 2001, and
// "Stochastic Gradient Boosting", 2002; Ke et al., "LightGBM", 2017, for the histograms.
package boost

import (
	"math/rand/v2"
	"slices"
	"sort"
)

// Params say how trees grow.
type Params struct {
	Trees        int
	Rate         float64 // share of each tree that counts
	Depth        int     // splits from the root to a leaf, at most
	LeafRows     int     // rows of a leaf, at least
	RowShare     float64 // rows that a tree is grown on
	FeatureShare float64 // features that a tree may use
	Seed         uint64
}

// binsMax is how many bins a feature has.
const binsMax = 64

// Model is a fitted sum of trees. It is safe for concurrent use.
type Model struct {
	Base  float64
	Edges [][]float64 // of the bins of each feature, rising
	Trees []Tree
}

// Tree is a tree as a list; node 0 is the root.
type Tree struct{ Nodes []Node }

// Node is a leaf, if Left is 0, or a split: rows whose bin is at most Bin go left.
type Node struct {
	Feature     int32
	Bin         uint8
	Left, Right int32
	Value       float64 // of a leaf
}

// grower grows trees on binned rows.
type grower struct {
	params   Params
	features int
	bins     []uint8   // of row r and feature f at r*features+f
	off      []float32 // what is left to explain, by row
	rng      *rand.Rand
	used     []int32 // features of the present tree
	tree     *Tree
	rate     float64
}

// cell is what the rows of a bin come to.
type cell struct{ sum, n float32 }

// Fit fits a model to rows of features, all of one length, and their targets.
func Fit(rows [][]float64, targets []float64, p Params) *Model {
	m := &Model{}
	if len(rows) == 0 {
		return m
	}
	for _, y := range targets {
		m.Base += y / float64(len(targets))
	}
	g := &grower{params: p, features: len(rows[0]), rng: rand.New(rand.NewPCG(p.Seed, 1)), rate: p.Rate}
	m.Edges = edgesOf(rows)
	g.bins = make([]uint8, len(rows)*g.features)
	g.off = make([]float32, len(rows))
	for r, row := range rows {
		m.bin(row, g.bins[r*g.features:][:g.features])
		g.off[r] = float32(targets[r] - m.Base)
	}
	all := make([]int32, len(rows))
	for i := range all {
		all[i] = int32(i)
	}
	for range p.Trees {
		t := g.grow(all)
		m.Trees = append(m.Trees, t)
		for r := range rows {
			g.off[r] -= float32(t.value(g.bins[r*g.features:][:g.features]))
		}
	}
	return m
}

// edgesOf puts about as many rows into each bin.
func edgesOf(rows [][]float64) [][]float64 {
	edges := make([][]float64, len(rows[0]))
	values := make([]float64, len(rows))
	for f := range edges {
		for r, row := range rows {
			values[r] = row[f]
		}
		slices.Sort(values)
		for b := 1; b < binsMax; b++ {
			v := values[b*(len(values)-1)/binsMax]
			if n := len(edges[f]); n == 0 || v > edges[f][n-1] {
				edges[f] = append(edges[f], v)
			}
		}
	}
	return edges
}

func (m *Model) bin(row []float64, bins []uint8) {
	for f, v := range row {
		bins[f] = uint8(sort.SearchFloat64s(m.Edges[f], v))
	}
}

// Predict returns the value of a row of features.
func (m *Model) Predict(row []float64) float64 {
	if len(m.Trees) == 0 {
		return m.Base
	}
	bins := make([]uint8, len(row))
	m.bin(row, bins)
	v := m.Base
	for i := range m.Trees {
		v += m.Trees[i].value(bins)
	}
	return v
}

func (t *Tree) value(bins []uint8) float64 {
	n := &t.Nodes[0]
	for n.Left != 0 {
		if bins[n.Feature] <= n.Bin {
			n = &t.Nodes[n.Left]
		} else {
			n = &t.Nodes[n.Right]
		}
	}
	return n.Value
}

// grow grows a tree on some rows and some features.
func (g *grower) grow(all []int32) Tree {
	g.used = g.used[:0]
	for f := range g.features {
		if g.rng.Float64() < g.params.FeatureShare {
			g.used = append(g.used, int32(f))
		}
	}
	if len(g.used) == 0 {
		g.used = append(g.used, int32(g.rng.IntN(g.features)))
	}
	rows := make([]int32, 0, len(all))
	for _, r := range all {
		if g.rng.Float64() < g.params.RowShare {
			rows = append(rows, r)
		}
	}
	t := Tree{}
	g.tree = &t
	g.split(rows, g.histogram(rows), g.params.Depth)
	return t
}

func (g *grower) histogram(rows []int32) []cell {
	h := make([]cell, len(g.used)*binsMax)
	for _, r := range rows {
		bins, off := g.bins[int(r)*g.features:][:g.features], g.off[r]
		for k, f := range g.used {
			c := &h[k*binsMax+int(bins[f])]
			c.sum += off
			c.n++
		}
	}
	return h
}

// split adds the node of rows, and all below it, and returns its number.
func (g *grower) split(rows []int32, h []cell, depth int) int32 {
	at := int32(len(g.tree.Nodes))
	g.tree.Nodes = append(g.tree.Nodes, Node{})
	var sum, n float32
	for b := range binsMax {
		sum += h[b].sum
		n += h[b].n
	}
	const lambda = 1 // makes leaves of few rows smaller
	g.tree.Nodes[at].Value = g.rate * float64(sum) / (float64(n) + lambda)
	if depth == 0 || int(n) < 2*g.params.LeafRows {
		return at
	}
	feature, bin, ok := g.best(h, sum, n)
	if !ok {
		return at
	}
	f := g.used[feature]
	left := g.partition(rows, f, bin)
	lower, upper := rows[:left], rows[left:]
	small := lower
	if len(upper) < len(lower) {
		small = upper
	}
	hs := g.histogram(small)
	for i := range h {
		h[i].sum -= hs[i].sum
		h[i].n -= hs[i].n
	}
	hl, hu := hs, h
	if len(upper) < len(lower) {
		hl, hu = h, hs
	}
	l := g.split(lower, hl, depth-1)
	r := g.split(upper, hu, depth-1)
	g.tree.Nodes[at].Feature, g.tree.Nodes[at].Bin, g.tree.Nodes[at].Left, g.tree.Nodes[at].Right = f, bin, l, r
	return at
}

// best finds the split that explains most.
func (g *grower) best(h []cell, sum, n float32) (feature int, bin uint8, ok bool) {
	least := float32(g.params.LeafRows)
	top := sum * sum / n * (1 + 1e-6)
	for k := range g.used {
		var s, c float32
		for b := range binsMax - 1 {
			x := h[k*binsMax+b]
			s += x.sum
			c += x.n
			if c < least {
				continue
			}
			if n-c < least {
				break
			}
			if gain := s*s/c + (sum-s)*(sum-s)/(n-c); gain > top {
				top, feature, bin, ok = gain, k, uint8(b), true
			}
		}
	}
	return feature, bin, ok
}

// partition puts the rows that go left first and returns how many they are.
func (g *grower) partition(rows []int32, f int32, bin uint8) int {
	n := 0
	for i, r := range rows {
		if g.bins[int(r)*g.features+int(f)] <= bin {
			rows[i], rows[n] = rows[n], r
			n++
		}
	}
	return n
}
