package fleet

// batchRows is how many rows an operator goes through at a time.
const batchRows = 1024

// form is what one row has for an operator.
type form uint8

const (
	neither   form = iota // absent, or an error: nothing holds, whatever is made of it
	ask                   // only the interpreter knows
	isBool                // 0 or 1
	isNumber              // of a text, if the vector has no texts of its own: its number
	isText                //
	isTime                // milliseconds since the epoch
	isSpan                // milliseconds
	compounds             // object or array
)

// vector is what an operator gives for the rows of a batch.
type vector struct {
	forms  [batchRows]form
	values [batchRows]float64
	own    []string // texts of its own instead of numbers of texts; nil: it has none
}

func (v *vector) fill(n int, f form, value float64) {
	for i := range n {
		v.forms[i], v.values[i] = f, value
	}
}

// text returns the text of a row that is one.
func (v *vector) text(t *texts, i int) string {
	if v.own != nil {
		return v.own[i]
	}
	return t.text(uint32(v.values[i]))
}

var formOfKind = [...]form{absent: neither, odd: neither, boolean: isBool, number: isNumber, text: isText, object: compounds, array: compounds}

// load reads a column.
func (v *vector) load(c *column, from, n int) {
	v.own = nil
	if c.few != nil {
		clear(v.forms[:n])
		for i := range n {
			if x, ok := c.few[int32(from+i)]; ok {
				v.forms[i], v.values[i] = formOfKind[x.kind], x.value
			}
		}
		return
	}
	there := max(0, min(n, len(c.kinds)-from))
	if there > 0 {
		copy(v.values[:there], c.values[from:])
		for i, k := range c.kinds[from : from+there] {
			v.forms[i] = formOfKind[k]
		}
	}
	clear(v.forms[there:n])
}
