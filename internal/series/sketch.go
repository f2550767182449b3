package series

import (
	"cmp"
	"math"
	"slices"
)

// Sketch is the distribution of numbers, so that quantiles of any number of merged
// sketches are within one percent of a value that has that rank: DDSketch (Masson, Rim
// and Lee, PVLDB 12, 2019) with relative accuracy 0.01. The zero value is empty.
type Sketch struct{ buckets []bucket } // in order of key

// bucket counts the numbers x with gamma^(k-1) < |x| <= gamma^k. Its key is k plus
// keyOffset, negated for negative x, and 0 for zero: in order of the numbers.
type bucket struct {
	key   int32
	count int64
}

const (
	sketchAccuracy = 0.01
	keyOffset      = 37_300 // the smallest float has k = -37222
	// bucketsMax bounds a sketch. More than that a sketch has only if its numbers span
	// 17 decades; then those nearest to zero become one.
	bucketsMax = 2048
)

var (
	gamma    = (1 + sketchAccuracy) / (1 - sketchAccuracy)
	logGamma = math.Log(gamma)
)

func keyOf(v float64) int32 {
	if v == 0 {
		return 0
	}
	k := int32(math.Ceil(math.Log(math.Abs(v))/logGamma)) + keyOffset
	if v < 0 {
		return -k
	}
	return k
}

// valueOf is the number in the middle of a bucket.
func valueOf(key int32) float64 {
	switch {
	case key == 0:
		return 0
	case key < 0:
		return -valueOf(-key)
	}
	return 2 * math.Exp(float64(key-keyOffset)*logGamma) / (gamma + 1)
}

func (s *Sketch) add(v float64) { s.addKey(keyOf(v), 1) }

func (s *Sketch) addKey(key int32, n int64) {
	i, found := slices.BinarySearchFunc(s.buckets, key, func(b bucket, k int32) int { return cmp.Compare(b.key, k) })
	if found {
		s.buckets[i].count += n
		return
	}
	s.buckets = slices.Insert(s.buckets, i, bucket{key, n})
	s.bound()
}

// bound merges the two buckets nearest to zero if there are too many.
func (s *Sketch) bound() {
	for len(s.buckets) > bucketsMax {
		i, _ := slices.BinarySearchFunc(s.buckets, 0, func(b bucket, k int32) int { return cmp.Compare(b.key, k) })
		i = min(max(i, 1), len(s.buckets)-1)
		s.buckets[i-1].count += s.buckets[i].count
		s.buckets = slices.Delete(s.buckets, i, i+1)
	}
}

func (s *Sketch) merge(o *Sketch) {
	if len(o.buckets) == 0 {
		return
	}
	merged := make([]bucket, 0, len(s.buckets)+len(o.buckets))
	a, b := s.buckets, o.buckets
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].key < b[0].key:
			merged, a = append(merged, a[0]), a[1:]
		case a[0].key > b[0].key:
			merged, b = append(merged, b[0]), b[1:]
		default:
			merged = append(merged, bucket{a[0].key, a[0].count + b[0].count})
			a, b = a[1:], b[1:]
		}
	}
	merged = append(append(merged, a...), b...)
	s.buckets = merged
	s.bound()
}

// quantile returns about the number of rank q*(n-1), 0 <= q <= 1.
func (s *Sketch) quantile(q float64) float64 {
	n := int64(0)
	for _, b := range s.buckets {
		n += b.count
	}
	rank := q * float64(n-1)
	seen := int64(0)
	for _, b := range s.buckets {
		if seen += b.count; float64(seen) > rank {
			return valueOf(b.key)
		}
	}
	return math.NaN()
}
