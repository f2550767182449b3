package load

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that are at most 1/16 wide of their
// value. The zero value is empty. It is not safe for concurrent use: each
// connection has its own, and they are added up at the end.
type Histogram struct {
	count   uint64
	buckets [buckets]uint32
}

const (
	subBits = 4 // 16 buckets for each power of two
	buckets = (40 - subBits + 1) << subBits
)

// Add counts one duration; those over about 18 minutes count as the longest.
func (h *Histogram) Add(d time.Duration) {
	h.count++
	h.buckets[bucketOf(d)]++
}

// Merge adds what another histogram counted.
func (h *Histogram) Merge(o *Histogram) {
	h.count += o.count
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
}

// Quantile returns the duration below which the part q (0 to 1) of all lies,
// rounded up to the end of its bucket; 0 if nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := uint64(q * float64(h.count))
	var seen uint64
	for i, n := range h.buckets {
		seen += uint64(n)
		if seen > rank || seen == h.count {
			return bucketEnd(i)
		}
	}
	return bucketEnd(buckets - 1)
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return min((shift+1)<<subBits+int(v>>shift)&(1<<subBits-1), buckets-1)
}

func bucketEnd(i int) time.Duration {
	if i < 1<<subBits {
		return time.Duration(i)
	}
	shift := i>>subBits - 1
	return time.Duration((uint64(1<<subBits|i&(1<<subBits-1))+1)<<shift - 1)
}
