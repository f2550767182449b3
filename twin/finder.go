package twin

// finder looks up members of one object by name, many times. Devices send keys in
// the same order again and again, so it goes on from the last hit; when that does
// not help it makes an index, so that no order of keys is slow.
type finder struct {
	nodes  []Node
	next   int // where the last hit was, plus one
	misses int // comparisons of keys that were in vain
	index  map[string]int32
}

// finderMissesMax is how many comparisons may be in vain before an index is made.
const finderMissesMax = 4096

// find returns the place of a quoted name, -1 if it is not there.
func (f *finder) find(key string) int {
	if f.index != nil {
		if i, ok := f.index[key]; ok {
			return int(i)
		}
		return -1
	}
	for i := f.next; i < len(f.nodes); i++ {
		if f.nodes[i].key == key {
			f.hit(i, i-f.next)
			return i
		}
	}
	for i := range f.nodes[:f.next] {
		if f.nodes[i].key == key {
			f.hit(i, len(f.nodes)-f.next+i)
			return i
		}
	}
	f.hit(f.next-1, len(f.nodes))
	return -1
}

func (f *finder) hit(at, misses int) {
	f.next = at + 1
	f.misses += misses
	if f.misses <= finderMissesMax {
		return
	}
	f.index = make(map[string]int32, len(f.nodes))
	for i := range f.nodes {
		f.index[f.nodes[i].key] = int32(i)
	}
}
