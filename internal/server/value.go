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

func (v bytesValue) Set(text string) error {
	digits, shift := text, 0
	for unit, s := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if cut, ok := strings.CutSuffix(text, unit); ok {
			digits, shift = strings.TrimSpace(cut), s
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a number of bytes such as 67108864 or 64MiB", text)
	}
	if n < 0 || n > v.max>>shift || n<<shift < v.min {
		return fmt.Errorf("%s is not between %d and %d bytes", text, v.min, v.max)
	}
	*v.p = n << shift
	return nil
}

func (v bytesValue) String() string {
	for _, u := range []struct {
		name  string
		shift int
	}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if n := *v.p; n != 0 && n%(1<<u.shift) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatInt(*v.p, 10)
}

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
