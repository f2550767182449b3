package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const whenHelp = "a time: 2026-11-22T20:25:31Z, 2026-11-22, or an age such as 90m, 6h, 7d"

// parseWhen reads a time as people write it; empty is none. Without a zone it is local.
func parseWhen(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, &usageError{fmt.Errorf("--%s %q is not %s", flag, text, whenHelp)}
}

// parsePoint reads a point in the past: a version such as v12, or a time. It returns it
// as the API takes it.
func parsePoint(flag, text string, now time.Time) (string, error) {
	if digits, ok := strings.CutPrefix(text, "v"); ok {
		if n, err := strconv.ParseUint(digits, 10, 63); err == nil && n > 0 {
			return text, nil
		}
		return "", &usageError{fmt.Errorf("--%s %q is no version such as v12", flag, text)}
	}
	t, err := parseWhen(flag, text, now)
	if err != nil || t.IsZero() {
		return "", err
	}
	return t.UTC().Format(time.RFC3339Nano), nil
}
