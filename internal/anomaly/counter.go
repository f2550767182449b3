package anomaly

import (
	"math"
	"time"
)

// counter finds out whether a series is a counter, such as operating hours or a meter: one that
// has never gone back. Its value is higher than ever with each point, which says nothing;
// its rate does. A counter that is reset begins again; one that goes back otherwise is none.
type counter struct {
	is            bool
	n, up, down   int64 // points of the series, of these that rose and fell
	last          float64
	lastAt        int64 // milliseconds since 1970
	resets, since int64 // since the last reset
}

// resetsMax is how many resets with fewer than monotoneLeast points between them end a counter.
const resetsMax = 3

// read returns what is judged of a value: itself, or the rate of a counter; not ok: nothing.
// changed says that the kind is another than before.
func (k *counter) read(at time.Time, v float64) (judged float64, changed, ok bool) {
	t := at.UnixMilli()
	before, beforeAt := k.last, k.lastAt
	k.last, k.lastAt = v, t
	k.n++
	if k.n == 1 {
		return v, false, true
	}
	switch {
	case v > before:
		k.up++
	case v < before:
		k.down++
	}
	if !k.is {
		if k.n == monotoneLeast && min(k.up, k.down) == 0 && max(k.up, k.down) > monotoneLeast/2 {
			k.is, k.since = true, 0
			return 0, true, false
		}
		return v, false, true
	}
	k.since++
	if back := (v-before)*float64(k.up-k.down) < 0; back {
		// Of a reset there is little left; what falls a little is a level.
		if math.Abs(v) > math.Abs(before)/2 || k.since < monotoneLeast && k.resets >= resetsMax {
			k.is = false
			return v, true, true
		}
		if k.since >= monotoneLeast {
			k.resets = 0
		}
		k.resets++
		k.since = 0
		return 0, false, false
	}
	if t <= beforeAt {
		return 0, false, false
	}
	return (v - before) / float64(t-beforeAt) * 1000, false, true
}

func (k *counter) code(c *codec) {
	c.truth(&k.is)
	for _, p := range []*int64{&k.n, &k.up, &k.down, &k.lastAt, &k.resets, &k.since} {
		c.count(p)
	}
	c.number(&k.last)
}
