package rest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twofold-iot/twofold/twin"
)

// csvColumns is what the header of a CSV says. There are two forms: thing,ts,metric,value
// has a sample per line; thing,ts,temperature,… has a metric per column. The order is
// free, and ts may be missing.
type csvColumns struct {
	count         int
	thing, ts     int // -1: there is none
	metric, value int // of the first form, else -1
	metrics       []csvMetric
}

type csvMetric struct {
	column int
	name   twin.MetricName
}

// readCSV takes a header and lines. A line is a record: a quoted field holds no line
// break, so that one that is broken costs no other.
func (b *bulk) readCSV(body *bufio.Reader) error {
	line, err := b.nextLine(body)
	if errors.Is(err, io.EOF) {
		return &problem{slug: slugInvalid, Detail: "the body is empty; it begins with a header such as thing,ts,metric,value"}
	}
	if err != nil {
		return err
	}
	fields, err := splitCSV(nil, line)
	if err != nil {
		return invalidf("the header, line %d: %v", b.line, err)
	}
	columns, err := parseHeader(fields)
	if err != nil {
		return invalidf("the header, line %d: %v", b.line, err)
	}
	b.stored = b.line
	c := csvLines{bulk: b, columns: columns, names: map[string]twin.MetricName{}}
	for {
		line, err := b.nextLine(body)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if c.fields, err = splitCSV(c.fields[:0], line); err == nil {
			err = c.take()
		}
		if err != nil {
			b.reject("", twin.ErrorMessage(err))
			continue
		}
		if err := b.flushIfFull(); err != nil {
			return err
		}
	}
}

func parseHeader(fields [][]byte) (csvColumns, error) {
	c := csvColumns{count: len(fields), thing: -1, ts: -1, metric: -1, value: -1}
	seen := map[string]bool{}
	for i, f := range fields {
		name := strings.TrimSpace(string(f))
		if seen[name] {
			return c, fmt.Errorf("the column %.80q is there twice", name)
		}
		seen[name] = true
		switch name {
		case "thing":
			c.thing = i
		case "ts":
			c.ts = i
		default:
			c.metrics = append(c.metrics, csvMetric{i, twin.MetricName(name)})
		}
	}
	if c.thing < 0 {
		return c, errors.New("there is no column thing; a header is thing,ts,metric,value or thing,ts and a column per metric")
	}
	if len(c.metrics) == 2 && seen["metric"] && seen["value"] {
		for _, m := range c.metrics {
			if m.name == "metric" {
				c.metric = m.column
			} else {
				c.value = m.column
			}
		}
		c.metrics = nil
		return c, nil
	}
	switch {
	case len(c.metrics) == 0:
		return c, errors.New("there is no column with values")
	case len(c.metrics) > twin.TelemetryKeysMax:
		return c, fmt.Errorf("%d metrics are over the limit of %d", len(c.metrics), twin.TelemetryKeysMax)
	}
	for _, m := range c.metrics {
		if err := m.name.Check(); err != nil {
			return c, fmt.Errorf("column %d: %s", m.column+1, twin.ErrorMessage(err))
		}
	}
	return c, nil
}

// csvLines turns lines into rows.
type csvLines struct {
	*bulk
	columns csvColumns
	fields  [][]byte
	thing   twin.ThingName             // of the line before
	names   map[string]twin.MetricName // of the form with a sample per line
}

// csvNamesMax is how many metrics are kept, so that they are not made again.
const csvNamesMax = 4096

func csvFault(format string, args ...any) error {
	return twin.NewError(twin.KindInvalid, fmt.Sprintf(format, args...))
}

// take adds the line to the batch.
func (c *csvLines) take() error {
	if len(c.fields) != c.columns.count {
		return csvFault("the line has %d fields, the header has %d", len(c.fields), c.columns.count)
	}
	thing := twin.ThingName(c.fields[c.columns.thing])
	if thing == c.thing && thing != "" {
		thing = c.thing // one string for all
	} else if !thing.Valid() {
		return csvFault("thing: %.140q is no thing name: 1 to %d characters of a-z A-Z 0-9 : _ -", thing, twin.ThingNameBytesMax)
	}
	now := twin.TimeOf(c.door.opts.Now())
	at := now
	if c.columns.ts >= 0 {
		if text := c.fields[c.columns.ts]; len(text) > 0 {
			var err error
			if at, err = c.door.opts.TelemetryRules.ParseTime(string(text), now); err != nil {
				return err
			}
		}
	}
	from := len(c.values)
	if err := c.measure(); err != nil {
		c.values = c.values[:from]
		return err
	}
	row := twin.Row{Thing: thing, Time: at, Arrival: now, Values: c.values[from:len(c.values):len(c.values)]}
	if err := c.door.admit(row); err != nil {
		c.values = c.values[:from]
		return err
	}
	c.thing = thing
	c.good++
	c.count += len(c.values) - from
	if len(c.values) > from && !c.joined(thing, at, from) {
		c.rows = append(c.rows, row)
	}
	return nil
}

// measure adds the values of the line. There is room: a batch is handed over when it
// is full, and a line has no more values than are kept free.
func (c *csvLines) measure() error {
	if c.columns.metric >= 0 {
		m, err := c.name(c.fields[c.columns.metric])
		if err != nil {
			return err
		}
		return c.add(m, c.fields[c.columns.value])
	}
	for _, m := range c.columns.metrics {
		if err := c.add(m.name, c.fields[m.column]); err != nil {
			return err
		}
	}
	return nil
}

func (c *csvLines) add(m twin.MetricName, field []byte) error {
	v, err := csvValue(field)
	if err != nil {
		return csvFault("%s: %v", m, err)
	}
	if v.Type != 0 {
		c.values = append(c.values, twin.Measurement{Metric: m, Value: v})
	}
	return nil
}

func (c *csvLines) name(field []byte) (twin.MetricName, error) {
	m, ok := c.names[string(field)]
	if ok {
		return m, nil
	}
	m = twin.MetricName(field)
	if err := m.Check(); err != nil {
		return "", err
	}
	if len(c.names) < csvNamesMax {
		c.names[string(m)] = m
	}
	return m, nil
}

// joined adds a sample to the row before it, if that is of the same thing and time and
// has not got the metric: what belongs together is kept together.
func (c *csvLines) joined(thing twin.ThingName, at twin.Time, from int) bool {
	if c.columns.metric < 0 || len(c.rows) == 0 || c.columns.ts < 0 {
		return false
	}
	last := &c.rows[len(c.rows)-1]
	start := from - len(last.Values)
	if last.Thing != thing || last.Time != at || len(last.Values) >= twin.TelemetryKeysMax {
		return false
	}
	m := c.values[from].Metric
	if slices.ContainsFunc(last.Values, func(v twin.Measurement) bool { return v.Metric == m }) {
		return false
	}
	last.Values = c.values[start : from+1 : from+1]
	return true
}

// csvValue reads a field: a number, true or false, or a text; nothing if it is empty.
func csvValue(field []byte) (twin.Value, error) {
	if len(field) == 0 {
		return twin.Value{}, nil
	}
	switch c := field[0]; {
	case c >= '0' && c <= '9', c == '-', c == '+', c == '.':
		f, err := strconv.ParseFloat(string(field), 64)
		if errors.Is(err, strconv.ErrRange) {
			return twin.Value{}, fmt.Errorf("%.40s is outside of the numbers of 64 bits (IEEE 754)", field)
		}
		if err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) && !bytes.ContainsAny(field, "xX_") {
			return twin.NumberValue(f), nil
		}
	case bytes.EqualFold(field, []byte("true")):
		return twin.BoolValue(true), nil
	case bytes.EqualFold(field, []byte("false")):
		return twin.BoolValue(false), nil
	}
	switch strings.TrimLeft(strings.ToLower(string(field[:min(len(field), len("+infinity")+1)])), "+-") {
	case "nan", "inf", "infinity":
		return twin.Value{}, fmt.Errorf("%s is no number that can be kept; leave the field empty", field)
	}
	switch {
	case len(field) > twin.TextBytesMax:
		return twin.Value{}, fmt.Errorf("the text has %d bytes, the limit is %d", len(field), twin.TextBytesMax)
	case !utf8.Valid(field):
		return twin.Value{}, errors.New("the text is not UTF-8")
	}
	return twin.TextValue(string(field)), nil
}

// splitCSV splits a line into fields (RFC 4180), which are parts of its memory.
func splitCSV(fields [][]byte, line []byte) ([][]byte, error) {
	for {
		if len(line) == 0 || line[0] != '"' {
			field, rest, more := bytes.Cut(line, []byte{','})
			if bytes.IndexByte(field, '"') >= 0 {
				return fields, csvFault("field %d has a quote inside; a field with quotes is quoted itself, and its quotes are doubled", len(fields)+1)
			}
			fields = append(fields, field)
			if !more {
				return fields, nil
			}
			line = rest
			continue
		}
		field, rest, err := cutQuoted(line[1:])
		if err != nil {
			return fields, csvFault("field %d: %v", len(fields)+1, err)
		}
		fields = append(fields, field)
		if len(rest) == 0 {
			return fields, nil
		}
		if rest[0] != ',' {
			return fields, csvFault("field %d: there is more after the closing quote", len(fields))
		}
		line = rest[1:]
	}
}

// cutQuoted returns a field up to its closing quote, with double quotes made single in
// place, and what follows.
func cutQuoted(line []byte) (field, rest []byte, err error) {
	n := 0
	for i := 0; i < len(line); i++ {
		if line[i] == '"' {
			if i+1 == len(line) || line[i+1] != '"' {
				return line[:n], line[i+1:], nil
			}
			i++
		}
		line[n] = line[i]
		n++
	}
	return nil, nil, errors.New("the quote is not closed on the line")
}
