package fleet

// texts keeps each text once, with how many cells have it.
type texts struct {
	ids  map[string]uint32
	list []counted
	free []uint32
}

type counted struct {
	text string
	uses uint32
}

func newTexts() *texts { return &texts{ids: make(map[string]uint32)} }

// hold returns the number of a text that one cell more has. The text is copied if it is
// new, as it may be a part of a large message.
func (t *texts) hold(text string) uint32 {
	if id, ok := t.ids[text]; ok {
		t.list[id].uses++
		return id
	}
	own := string([]byte(text))
	id := uint32(len(t.list))
	if n := len(t.free); n > 0 {
		id = t.free[n-1]
		t.free = t.free[:n-1]
		t.list[id] = counted{own, 1}
	} else {
		t.list = append(t.list, counted{own, 1})
	}
	t.ids[own] = id
	return id
}

// drop says that one cell less has the text.
func (t *texts) drop(id uint32) {
	c := &t.list[id]
	if c.uses--; c.uses == 0 {
		delete(t.ids, c.text)
		*c = counted{}
		t.free = append(t.free, id)
	}
}

func (t *texts) text(id uint32) string { return t.list[id].text }
