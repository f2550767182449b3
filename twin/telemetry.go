package twin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a telemetry message.
const (
	TelemetryKeysMax   = 1000    // values of one point, nulls included
	TelemetryPointsMax = 10_000  // points of one message
	TelemetryValuesMax = 100_000 // values of one message
	TelemetryDepthMax  = 8       // nesting of a point; the point itself is level 1
)

// TelemetryRules say what a telemetry message may be; the zero value works.
type TelemetryRules struct {
	AheadMax time.Duration // how far ahead of the arrival a time may lie; 0: 5 min
	LateMax  time.Duration // how long before it; 0: 30 days
	// Prefix is a metric that the topic names. The metrics of the message are below it,
	// and a message may be the value itself: a number, text or truth value.
	Prefix MetricName
	// NamesThing: the message is one point, and its member "thing" says of which thing.
	NamesThing bool
}

// Defaults of [TelemetryRules].
const (
	TelemetryAheadDefault = 5 * time.Minute
	TelemetryLateDefault  = 30 * 24 * time.Hour
)

// TelemetryError says what is wrong with a message, and where. It is of kind
// [KindInvalid] or [KindTooLarge].
type TelemetryError struct {
	Pointer string // to the value (RFC 6901); empty: the message as a whole
	Err     *Error
}

// Error says what and where.
func (e *TelemetryError) Error() string { return e.Err.Error() }

// Unwrap returns the [Error], whose message names the place too.
func (e *TelemetryError) Unwrap() error { return e.Err }

// ParseTelemetry parses what a device measured: a JSON object of values, or an array of
// such objects. Values are numbers, texts and truth values; nested objects give dotted
// metrics ("motor.speed"), arrays numbered ones ("phase.0"), nulls are left out. The
// optional member "ts" of a point is its time; {"ts": …, "values": {…}} means the values
// inside. It is all or nothing: one fault refuses the message. The rows have no thing,
// but for [TelemetryRules].NamesThing, and share no memory with the payload.
func ParseTelemetry(payload []byte, arrival Time, rules TelemetryRules) ([]Row, error) {
	p := telemetryParsers.Get().(*telemetryParser)
	defer p.release()
	p.reset(payload, arrival, rules)
	if err := p.message(); err != nil {
		return nil, err
	}
	return p.take(), nil
}

// telemetryParser reads one message. It keeps the metrics it has seen, so that a name
// that comes again and again is one string.
type telemetryParser struct {
	dec     jsontext.Decoder
	src     bytes.Buffer
	payload []byte
	arrival Time
	rules   TelemetryRules

	metrics map[string]*knownMetric
	texts   map[string]string
	path    []byte // the metric, as far as it is read
	scratch []byte
	point   uint64 // counts the points of all messages

	rows   []Row // without values
	ends   []int // where the values of a row end
	values []Measurement

	pointState
}

// knownMetric is a metric with the last point it was in, to find it given twice.
type knownMetric struct {
	name  MetricName
	point uint64
}

// pointState is about the point being read.
type pointState struct {
	thing   ThingName
	at      Time // 0: not given
	from    int  // where its values begin
	keys    int
	members int // without ts, thing and the object "values"
	// wrapped: all values so far are in a member "values", which is not part of the
	// metrics unless there are others beside it.
	wrapped bool
	deepest int
}

// What a pooled parser may keep.
const (
	telemetryMetricsKept = 4096
	telemetryTextsKept   = 1024
	telemetryTextKept    = 32 // bytes of a text that may come again
	telemetryValuesKept  = 4096
)

var telemetryParsers = sync.Pool{New: func() any {
	return &telemetryParser{metrics: make(map[string]*knownMetric), texts: make(map[string]string)}
}}

func (p *telemetryParser) reset(payload []byte, arrival Time, rules TelemetryRules) {
	if rules.AheadMax == 0 {
		rules.AheadMax = TelemetryAheadDefault
	}
	if rules.LateMax == 0 {
		rules.LateMax = TelemetryLateDefault
	}
	p.src = *bytes.NewBuffer(payload)
	p.dec.Reset(&p.src)
	p.payload, p.arrival, p.rules = payload, arrival, rules
	if len(p.metrics) > telemetryMetricsKept {
		clear(p.metrics)
	}
	if len(p.texts) > telemetryTextsKept {
		clear(p.texts)
	}
}

func (p *telemetryParser) release() {
	clear(p.rows)
	clear(p.values)
	p.rows, p.ends, p.values = p.rows[:0], p.ends[:0], p.values[:0]
	p.payload, p.src = nil, bytes.Buffer{}
	p.dec.Reset(&p.src) // lets go of the payload
	if cap(p.values) > telemetryValuesKept || cap(p.scratch) > TextBytesMax || len(p.metrics) > 2*telemetryMetricsKept {
		return // an odd one must not stay in memory
	}
	telemetryParsers.Put(p)
}

// take returns what was read, in memory of its own.
func (p *telemetryParser) take() []Row {
	if len(p.rows) == 0 {
		return nil
	}
	rows, values := make([]Row, len(p.rows)), make([]Measurement, len(p.values))
	copy(rows, p.rows)
	copy(values, p.values)
	from := 0
	for i, end := range p.ends {
		rows[i].Values = values[from:end:end]
		from = end
	}
	return rows
}

func (p *telemetryParser) message() error {
	if p.dec.PeekKind() == '[' && !p.rules.NamesThing {
		if err := p.points(); err != nil {
			return err
		}
	} else if err := p.readPoint(p.rules.Prefix != ""); err != nil {
		return err
	}
	_, err := p.dec.ReadToken()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return p.syntax(err)
	}
	return p.failAt("", KindInvalid, "there is more after the JSON value")
}

func (p *telemetryParser) points() error {
	if _, err := p.dec.ReadToken(); err != nil {
		return p.syntax(err)
	}
	n := 0
	for p.dec.PeekKind() != ']' {
		if err := p.readPoint(false); err != nil {
			return err
		}
		if n++; n > TelemetryPointsMax {
			return p.failAt("", KindTooLarge, fmt.Sprintf("more than %d points in a message; send several messages", TelemetryPointsMax))
		}
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return p.syntax(err)
	}
	if n == 0 {
		return p.failAt("", KindInvalid, "the array has no point in it")
	}
	return nil
}

// readPoint reads the values of one instant; bare allows a value without a name.
func (p *telemetryParser) readPoint(bare bool) error {
	p.pointState = pointState{from: len(p.values), deepest: 1}
	p.point++
	p.path = append(p.path[:0], p.rules.Prefix...)
	switch kind := p.dec.PeekKind(); {
	case kind == '{':
		if err := p.readMembers(); err != nil {
			return err
		}
	case bare && kind != '[':
		if err := p.value(1); err != nil {
			return err
		}
	default:
		raw, err := p.dec.ReadValue()
		if err != nil {
			return p.syntax(err)
		}
		return p.fail(`a point is a JSON object such as {"temperature":21.5}, not ` + jsonKind(raw))
	}
	return p.end()
}

// readMembers reads the members of a point.
func (p *telemetryParser) readMembers() error {
	if _, err := p.dec.ReadToken(); err != nil {
		return p.syntax(err)
	}
	for p.dec.PeekKind() != '}' {
		at, err := p.name(len(p.rules.Prefix))
		if err != nil {
			return err
		}
		if err := p.member(p.path[at:]); err != nil {
			return err
		}
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return p.syntax(err)
	}
	return nil
}

func (p *telemetryParser) member(name []byte) error {
	switch {
	case string(name) == "ts":
		return p.time()
	case string(name) == "thing" && p.rules.NamesThing:
		return p.readThing()
	case string(name) == "values" && p.members == 0 && p.dec.PeekKind() == '{':
		p.wrapped = true
		p.path = p.path[:len(p.rules.Prefix)]
		return p.object(1)
	}
	p.members++
	if p.wrapped {
		path := append(p.scratch[:0], p.path...)
		if err := p.unwrap(); err != nil {
			return err
		}
		p.path, p.scratch = append(p.path[:0], path...), path
	}
	return p.value(1)
}

// end makes a row of the point.
func (p *telemetryParser) end() error {
	if p.wrapped && p.at == 0 && !p.rules.NamesThing {
		if err := p.unwrap(); err != nil {
			return err
		}
	}
	switch {
	case p.rules.NamesThing && p.thing == "":
		return p.fail(`"thing" is missing`)
	case p.keys == 0:
		return p.fail("there is no value in it")
	case len(p.values) == p.from:
		return nil // nulls only
	}
	at := p.at
	if at == 0 {
		at = p.arrival
	}
	p.rows = append(p.rows, Row{Thing: p.thing, Time: at, Arrival: p.arrival})
	p.ends = append(p.ends, len(p.values))
	return nil
}

// unwrap makes "values" part of the metrics that were read: it is not alone with ts.
func (p *telemetryParser) unwrap() error {
	p.wrapped = false
	if p.deepest++; p.deepest > TelemetryDepthMax {
		return p.tooDeep()
	}
	p.point++ // the names without it are free again
	for i := p.from; i < len(p.values); i++ {
		name := string(p.values[i].Metric[len(p.rules.Prefix):])
		p.path = append(p.path[:0], p.rules.Prefix...)
		if len(p.path) > 0 {
			p.path, name = append(p.path, '.'), name[1:]
		}
		p.path = append(append(p.path, "values."...), name...)
		m, err := p.metric()
		if err != nil {
			return err
		}
		p.values[i].Metric = m
	}
	return nil
}

// name reads a name into the path, below what is there up to at, and returns where it
// begins.
func (p *telemetryParser) name(at int) (int, error) {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return 0, p.syntax(err)
	}
	p.path = p.path[:at]
	if at > 0 {
		p.path = append(p.path, '.')
		at++
	}
	if p.path, err = jsontext.AppendUnquote(p.path, raw); err != nil {
		return 0, p.syntax(err)
	}
	if len(p.path) == at {
		return 0, p.fail("the name is empty")
	}
	if len(p.path) > MetricNameBytesMax {
		return 0, p.fail(fmt.Sprintf("the metric name has %d bytes or more, the limit is %d", len(p.path), MetricNameBytesMax))
	}
	return at, nil
}

// value reads what belongs to the metric in path.
func (p *telemetryParser) value(depth int) error {
	switch p.dec.PeekKind() {
	case '{':
		return p.object(depth + 1)
	case '[':
		return p.array(depth + 1)
	}
	raw, err := p.dec.ReadValue()
	if err != nil {
		return p.syntax(err)
	}
	if p.keys++; p.keys > TelemetryKeysMax {
		return p.failAt("", KindTooLarge, fmt.Sprintf("more than %d values in a point", TelemetryKeysMax))
	}
	switch raw[0] {
	case 'n':
		return nil
	case 't', 'f':
		return p.add(BoolValue(raw[0] == 't'))
	case '"':
		return p.text(raw)
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsInf(f, 0) {
		return p.fail(fmt.Sprintf("%.40s is outside of the numbers of 64 bits (IEEE 754)", raw))
	}
	return p.add(NumberValue(f))
}

func (p *telemetryParser) text(raw []byte) error {
	var err error
	if p.scratch, err = jsontext.AppendUnquote(p.scratch[:0], raw); err != nil {
		return p.syntax(err)
	}
	if len(p.scratch) > TextBytesMax {
		return p.fail(fmt.Sprintf("the text has %d bytes, the limit is %d", len(p.scratch), TextBytesMax))
	}
	return p.add(TextValue(p.known(p.scratch)))
}

// known returns a text; short ones are likely to come again.
func (p *telemetryParser) known(b []byte) string {
	if len(b) > telemetryTextKept {
		return string(b)
	}
	s, ok := p.texts[string(b)]
	if !ok {
		s = string(b)
		if len(p.texts) <= telemetryTextsKept {
			p.texts[s] = s
		}
	}
	return s
}

// object reads an object below the metric in path.
func (p *telemetryParser) object(depth int) error {
	if err := p.enter(depth); err != nil {
		return err
	}
	base := len(p.path)
	for p.dec.PeekKind() != '}' {
		if _, err := p.name(base); err != nil {
			return err
		}
		if err := p.value(depth); err != nil {
			return err
		}
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return p.syntax(err)
	}
	return nil
}

// array reads an array below the metric in path; its values are numbered from 0.
func (p *telemetryParser) array(depth int) error {
	if err := p.enter(depth); err != nil {
		return err
	}
	base := len(p.path)
	for i := int64(0); p.dec.PeekKind() != ']'; i++ {
		p.path = strconv.AppendInt(append(p.path[:base], '.'), i, 10)
		if err := p.value(depth); err != nil {
			return err
		}
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return p.syntax(err)
	}
	return nil
}

// enter reads the start of an object or array.
func (p *telemetryParser) enter(depth int) error {
	if _, err := p.dec.ReadToken(); err != nil {
		return p.syntax(err)
	}
	if p.deepest = max(p.deepest, depth); depth > TelemetryDepthMax {
		return p.tooDeep()
	}
	return nil
}

func (p *telemetryParser) tooDeep() error {
	return p.fail(fmt.Sprintf("nested deeper than %d levels", TelemetryDepthMax))
}

func (p *telemetryParser) add(v Value) error {
	m, err := p.metric()
	if err != nil {
		return err
	}
	if len(p.values) >= TelemetryValuesMax {
		return p.failAt("", KindTooLarge, fmt.Sprintf("more than %d values in a message; send several messages", TelemetryValuesMax))
	}
	p.values = append(p.values, Measurement{Metric: m, Value: v})
	return nil
}

// metric returns the metric in path.
func (p *telemetryParser) metric() (MetricName, error) {
	k := p.metrics[string(p.path)]
	if k == nil {
		k = &knownMetric{name: MetricName(p.path)}
		if err := k.name.Check(); err != nil {
			return "", p.fail(ErrorMessage(err))
		}
		p.metrics[string(k.name)] = k
	}
	if k.point == p.point {
		return "", p.fail(fmt.Sprintf("the metric %q is given twice", k.name))
	}
	k.point = p.point
	return k.name, nil
}
