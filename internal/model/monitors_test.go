package model_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/model"
)

func TestParse_monitors(t *testing.T) {
	m, err := parse(t, "name: pump\nmonitors: {threshold: 5, ignore: [telemetry.rssi, reported.net.up]}\nfailure: {metric: telemetry.vibration, above: 7.1}\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(model.Monitors{Threshold: 5, Ignore: []string{"telemetry.rssi", "reported.net.up"}}, m.Monitors()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&model.Failure{Metric: "telemetry.vibration", Limit: 7.1}, m.Failure()); diff != "" {
		t.Error(diff)
	}
	tank, err := parse(t, "name: tank\nfailure: {metric: reported.level, below: -3}\n")
	if err != nil {
		t.Fatal(err)
	}
	if f := tank.Failure(); f == nil || !f.Below || f.Limit != -3 {
		t.Errorf("%+v", f)
	}
	var none *model.Model
	if none.Failure() != nil || none.Monitors().Threshold != 0 {
		t.Error("no model says something")
	}
}

func TestParse_monitorsFaults(t *testing.T) {
	for source, want := range map[string]string{
		"monitors: {threshold: 0.1}":                            "monitors.threshold: 0.1 is not 0.5 to 20; 4 is the default",
		"monitors: {threshold: high}":                           `"high" is no number`,
		"monitors: {ignore: telemetry.x}":                       "monitors.ignore is a list of metrics; write [telemetry.rssi]",
		"monitors: {ignore: [rssi]}":                            `"rssi" is no metric; write telemetry.vibration, or reported.engine.rpm`,
		"monitors: {ignored: [telemetry.x]}":                    "did you mean ignore?",
		"failure: {above: 7}":                                   "failure names no metric",
		"failure: {metric: telemetry.x}":                        "failure needs one limit, above or below",
		"failure: {metric: telemetry.x, above: 1, below: 2}":    "failure needs one limit",
		"failure: {metric: telemetry.x, above: nan}":            `"nan" is no number`,
		"failure: {metric: telemetry., above: 1}":               "is no metric",
		"failure: {metric: telemetry.x, above: 1, within: 30d}": "failure has no within",
	} {
		_, err := parse(t, "name: pump\n"+source+"\n")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "2:") {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
}
