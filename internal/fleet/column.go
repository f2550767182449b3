package fleet

// kind is what a cell has.
type kind uint8

const (
	absent  kind = iota
	odd          // a value that is none to an expression, such as 1e999
	boolean      // 0 or 1
	number
	text   // number of the text
	object // its members are columns of their own
	array  // number of its JSON
)

type cell struct {
	kind  kind
	value float64
}

// holdsText reports whether the value is the number of a text.
func (c cell) holdsText() bool { return c.kind == text || c.kind == array }

// column is what twins have under one path. One that few have is a map.
type column struct {
	kinds  []kind // shorter than the rows: absent from there on
	values []float64
	few    map[int32]cell
	count  int
}

// A column becomes dense when more than one row of denseFrom has something, and a map
// again when less than one of sparseFrom has.
const (
	denseFrom  = 8
	sparseFrom = 32
)

func (c *column) at(row int) cell {
	if c.few != nil {
		return c.few[int32(row)]
	}
	if row < len(c.kinds) {
		return cell{c.kinds[row], c.values[row]}
	}
	return cell{}
}

// set puts a cell into one of so many rows, and returns what was there.
func (c *column) set(row, rows int, x cell) (before cell) {
	before = c.at(row)
	if before == x {
		return before
	}
	switch {
	case before.kind == absent:
		c.count++
	case x.kind == absent:
		c.count--
	}
	c.fit(rows)
	if c.few != nil {
		if x.kind == absent {
			delete(c.few, int32(row))
		} else {
			c.few[int32(row)] = x
		}
		return before
	}
	for len(c.kinds) <= row {
		c.kinds, c.values = append(c.kinds, absent), append(c.values, 0)
	}
	c.kinds[row], c.values[row] = x.kind, x.value
	return before
}

// fit lets the column be a map or dense, as it is filled.
func (c *column) fit(rows int) {
	switch {
	case c.few == nil && c.kinds == nil && c.count*denseFrom < rows:
		c.few = make(map[int32]cell)
	case c.few != nil && c.count*denseFrom >= rows:
		few := c.few
		c.few = nil
		c.kinds, c.values = make([]kind, rows), make([]float64, rows)
		for row, x := range few {
			c.kinds[row], c.values[row] = x.kind, x.value
		}
	case c.kinds != nil && c.count*sparseFrom < len(c.kinds):
		kinds, values := c.kinds, c.values
		c.kinds, c.values, c.few = nil, nil, make(map[int32]cell, c.count)
		for row, k := range kinds {
			if k != absent {
				c.few[int32(row)] = cell{k, values[row]}
			}
		}
	}
}

// branch is a path, with the paths below it: the names of the members that some twin has.
type branch struct {
	name  string
	kids  map[string]*branch
	order []*branch
	column
}

// kid returns the branch of a member, nil if there is none.
func (b *branch) kid(name string) *branch {
	if b == nil {
		return nil
	}
	return b.kids[name]
}

func (b *branch) grow(name string) *branch {
	if k := b.kids[name]; k != nil {
		return k
	}
	if b.kids == nil {
		b.kids = make(map[string]*branch)
	}
	k := &branch{name: string([]byte(name))}
	b.kids[k.name] = k
	b.order = append(b.order, k)
	return k
}
