package twin

import (
	"math"
	"strconv"
	"strings"
)

// decimal is the value of a JSON number, exactly: 0.digits × 10^point. Zero has no
// digits. It points into the number's text, so nothing is allocated however
// large the number is.
type decimal struct {
	negative bool
	digits   string // first to last digit that counts; may have a '.' in it
	point    int64
}

// decimalOf reads a number in JSON's grammar.
func decimalOf(text string) decimal {
	var d decimal
	text, d.negative = strings.CutPrefix(text, "-")
	mantissa := text
	if e := strings.IndexAny(text, "eE"); e >= 0 {
		mantissa = text[:e]
		d.point = exponentOf(text[e+1:])
	}
	first := strings.IndexAny(mantissa, "123456789")
	if first < 0 {
		return decimal{} // -0 is 0
	}
	last := strings.LastIndexAny(mantissa, "123456789")
	d.digits = mantissa[first : last+1]
	dot := strings.IndexByte(mantissa, '.')
	switch {
	case dot < 0:
		d.point += int64(len(mantissa) - first)
	case first < dot:
		d.point += int64(dot - first)
	default:
		d.point -= int64(first - dot - 1)
	}
	return d
}

// exponentOf reads an exponent; one that is too long (the parser accepts none)
// saturates.
func exponentOf(text string) int64 {
	text, negative := strings.CutPrefix(strings.TrimPrefix(text, "+"), "-")
	e, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		e = math.MaxInt64 / 2
	}
	if negative {
		return -e
	}
	return e
}

// equalNumbers compares by value: 1, 1.0 and 1e0 are equal (row 13), and nothing is
// rounded.
func equalNumbers(a, b string) bool {
	if a == b {
		return true
	}
	x, y := decimalOf(a), decimalOf(b)
	if x.negative != y.negative || x.point != y.point {
		return false
	}
	i, j := 0, 0
	for {
		if i < len(x.digits) && x.digits[i] == '.' {
			i++
		}
		if j < len(y.digits) && y.digits[j] == '.' {
			j++
		}
		if i == len(x.digits) || j == len(y.digits) {
			return i == len(x.digits) && j == len(y.digits)
		}
		if x.digits[i] != y.digits[j] {
			return false
		}
		i++
		j++
	}
}

// wholeNumber returns the value of a number that is whole and not negative, however
// it is written. Beyond 64 bits it is the largest of them, which is no
// version.
func wholeNumber(text string) (uint64, bool) {
	d := decimalOf(text)
	if d.digits == "" {
		return 0, true
	}
	count := len(d.digits) - strings.Count(d.digits, ".")
	if d.negative || d.point < int64(count) {
		return 0, false
	}
	if d.point > 20 {
		return math.MaxUint64, true
	}
	digits := strings.ReplaceAll(d.digits, ".", "")
	digits += strings.Repeat("0", int(d.point)-len(digits))
	v, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return math.MaxUint64, true
	}
	return v, true
}

// exponentDigitsMax is the longest exponent, leading zeros not counted, so that
// exponents can be added.
const exponentDigitsMax = 9

// inRange reports whether a float64 comes near the number. Tiny ones are let
// through, they only become zero elsewhere. text is not kept.
func inRange(text string) bool {
	e := strings.IndexAny(text, "eE")
	if e < 0 && len(text) <= 308 {
		return true
	}
	if e >= 0 && len(strings.TrimLeft(text[e+1:], "+-0")) > exponentDigitsMax {
		return false
	}
	d := decimalOf(text)
	if d.digits == "" || d.point <= 308 {
		return true
	}
	if d.point > 309 {
		return false
	}
	// Between 1e308 and 1e309: 20 digits say on which side of the largest it is.
	digits := strings.ReplaceAll(d.digits[:min(len(d.digits), 20)], ".", "")
	_, err := strconv.ParseFloat("0."+digits+"e309", 64)
	return err == nil
}
