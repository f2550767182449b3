package model

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Monitors say how the measurements of a twin are watched.
type Monitors struct {
	Threshold float64  // surprise from which on a moment is told of; 0: as usual
	Ignore    []string // metrics that are not watched, such as reported.rssi
}

// Failure says when a thing has failed: when a metric is at a limit.
type Failure struct {
	Metric string // such as telemetry.vibration
	Limit  float64
	Below  bool // at or below; else at or above
}

// Limits of monitors.
const (
	IgnoreMax     = 100
	ThresholdMin  = 0.5
	ThresholdMax  = 20
	metricPathMax = 256
)

// Monitors returns how measurements are watched. A nil model says nothing.
func (m *Model) Monitors() Monitors {
	if m == nil {
		return Monitors{}
	}
	return m.monitors
}

// Failure returns when a thing has failed; nil if the model does not say.
func (m *Model) Failure() *Failure {
	if m == nil {
		return nil
	}
	return m.failure
}

func (m *Model) parseMonitors(n ast.Node) error {
	return fields(n, "monitors", map[string]func(ast.Node) error{
		"threshold": func(n ast.Node) error {
			err := figure(&m.monitors.Threshold)(n)
			if t := m.monitors.Threshold; err == nil && !(t >= ThresholdMin && t <= ThresholdMax) {
				return fault(n, fmt.Sprintf("monitors.threshold: %g is not %g to %g", t, ThresholdMin, float64(ThresholdMax)), "4 is the default; higher tells of less")
			}
			return err
		},
		"ignore": func(n ast.Node) error {
			list, ok := n.(*ast.SequenceNode)
			if !ok {
				return fault(n, "monitors.ignore is a list of metrics", "write [telemetry.rssi]")
			}
			if len(list.Values) > IgnoreMax {
				return fault(n, fmt.Sprintf("more than %d metrics", IgnoreMax), "")
			}
			for _, v := range list.Values {
				name, err := metricPath(v)
				if err != nil {
					return err
				}
				m.monitors.Ignore = append(m.monitors.Ignore, name)
			}
			return nil
		},
	})
}

func (m *Model) parseFailure(n ast.Node) error {
	f := &Failure{}
	sides := 0
	limit := func(below bool) func(ast.Node) error {
		return func(n ast.Node) error {
			f.Below = below
			sides++
			return figure(&f.Limit)(n)
		}
	}
	err := fields(n, "failure", map[string]func(ast.Node) error{
		"metric": func(n ast.Node) (err error) { f.Metric, err = metricPath(n); return err },
		"above":  limit(false),
		"below":  limit(true),
	})
	switch {
	case err != nil:
		return err
	case f.Metric == "":
		return fault(n, "failure names no metric", "write metric: telemetry.vibration")
	case sides != 1:
		return fault(n, "failure needs one limit, above or below", "write above: 7.1")
	}
	m.failure = f
	return nil
}

// metricPath reads what names a number: telemetry.name, or a path of reported.
func metricPath(n ast.Node) (string, error) {
	var s string
	if err := text(&s, metricPathMax)(n); err != nil {
		return "", err
	}
	for _, prefix := range []string{"telemetry.", "reported."} {
		if strings.HasPrefix(s, prefix) && len(s) > len(prefix) {
			return s, nil
		}
	}
	return "", fault(n, fmt.Sprintf("%.80q is no metric", s), "write telemetry.vibration, or reported.engine.rpm")
}

func figure(into *float64) func(ast.Node) error {
	return func(n ast.Node) error {
		var s string
		if err := text(&s, UnitBytesMax)(n); err != nil {
			return err
		}
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
			return fault(n, fmt.Sprintf("%q is no number", s), "")
		}
		*into = v
		return nil
	}
}
