package server

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value reads and prints one setting. Every layer (file, environment, flag) hands
// over text, so there is one parser and one wording per type.
type value interface {
	Set(text string) error
	String() string
}

type textValue string

func (v *textValue) Set(text string) error { *v = textValue(text); return nil }
func (v *textValue) String() string        { return string(*v) }

// listValue is comma-separated in the environment, a list in the file.
type listValue []string

func (v *listValue) Set(text string) error {
	*v = nil
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*v = append(*v, part)
		}
	}
	return nil
}
func (v *listValue) String() string { return strings.Join(*v, ",") }

// boolValue is true or false.
type boolValue bool

func (v *boolValue) Set(text string) error {
	switch text {
	case "true":
		*v = true
	case "false":
		*v = false
	default:
		return fmt.Errorf("%q is neither true nor false", text)
	}
	return nil
}
func (v *boolValue) String() string { return strconv.FormatBool(bool(*v)) }

type intValue struct {
	p        *int
	min, max int
}

func (v intValue) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%q is not a whole number", text)
	}
	if n < v.min || n > v.max {
		return fmt.Errorf("%d is not between %d and %d", n, v.min, v.max)
	}
	*v.p = n
	return nil
}
func (v intValue) String() string { return strconv.Itoa(*v.p) }

type bytesValue struct {
	p        *int64
	min, max int64
}

// byteUnits are what a number of bytes may be given in. They are written in the first that
// divides it.
var byteUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KiB", 1 << 10}, {"kB", 1e3},
}

func (v bytesValue) Set(text string) error {
	digits, unit := text, int64(1)
	for _, u := range byteUnits {
		if cut, ok := strings.CutSuffix(text, u.name); ok {
			digits, unit = strings.TrimSpace(cut), u.bytes
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a number of bytes such as 67108864, 64MiB or 20GB", text)
	}
	if n < 0 || n > v.max/unit || n*unit < v.min {
		return fmt.Errorf("%s is not between %d and %d bytes", text, v.min, v.max)
	}
	*v.p = n * unit
	return nil
}

func (v bytesValue) String() string {
	for _, u := range byteUnits {
		if n := *v.p; n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(*v.p, 10)
}

func bytesText(n int64) string { return bytesValue{p: &n}.String() }

type durationValue struct {
	p        *time.Duration
	min, max time.Duration
}

func (v durationValue) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 30s or 5m", text)
	}
	if d < v.min || d > v.max {
		return fmt.Errorf("%s is not between %s and %s", d, v.min, v.max)
	}
	*v.p = d
	return nil
}
func (v durationValue) String() string { return v.p.String() }

type choiceValue struct {
	p       *string
	choices []string
}

func (v choiceValue) Set(text string) error {
	if !slices.Contains(v.choices, text) {
		return fmt.Errorf("%q is not one of %s", text, strings.TrimSuffix(strings.Join(v.choices, ", "), ", "))
	}
	*v.p = text
	return nil
}
func (v choiceValue) String() string { return *v.p }
