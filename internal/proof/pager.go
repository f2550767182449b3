package proof

// Limits of one read of events.
const (
	pageEventsMin   = 64
	pageEventsFirst = 1024
	pageEventsMax   = 8192
	pageBytes       = 1 << 20 // what a page should take
)

// pager says how many events to read at once: many small ones, because each read begins
// with a search, few large ones, because a page is held in memory. The zero value works.
type pager struct{ limit int }

// events returns how many to read next.
func (p *pager) events() int {
	if p.limit == 0 {
		return pageEventsFirst
	}
	return p.limit
}

// saw learns from a page.
func (p *pager) saw(page [][]byte) {
	if len(page) == 0 {
		return
	}
	size := 0
	for _, b := range page {
		size += len(b)
	}
	p.limit = min(max(pageBytes/max(size/len(page), 1), pageEventsMin), pageEventsMax)
}
