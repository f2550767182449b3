package awsiot

import (
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/expr"
)

func TestParseIndexQuery(t *testing.T) {
	env, err := expr.NewQueryEnv()
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"*":           "true",
		"thingName:*": "true",
		"shadow.reported.temp > 20 AND connectivity.connected:true AND thingName:pump-*": `(holds(reported.temp > 20.0) && (connected) && holds(id.startsWith("pump-")))`,
		"shadow.reported.mode:on OR NOT attributes.site:hh1":                             `(holds(reported.mode == "on") || !holds(tags.site == "hh1"))`,
		"shadow.reported.n:5":                          `holds(reported.n == 5.0 || reported.n == "5")`,
		`shadow.reported.n:"5"`:                        `holds(reported.n == "5")`,
		"shadow.reported.on:true":                      `holds(reported.on == true || reported.on == "true")`,
		"shadow.reported.t:[-5 TO 10]":                 `(holds(reported.t >= -5.0) && holds(reported.t <= 10.0))`,
		"shadow.reported.t:{1.5 TO *}":                 `(holds(reported.t > 1.5))`,
		"thingName:(tv* AND -plasma)":                  `(holds(id.startsWith("tv")) && !holds(id == "plasma"))`,
		"attributes.price >= 75":                       `holds(double(tags.price) >= 75.0)`,
		`attributes.location:"Hamburg Nord"`:           `holds(tags.location == "Hamburg Nord")`,
		"thingName:te?t*x":                             `holds(id.matches("^te.t.*x$"))`,
		"shadow.reported.fw:1.2.*":                     `holds(reported.fw.startsWith("1.2."))`,
		"shadow.hasDelta:true":                         `(holds(driftSince <= now))`,
		"connectivity.connected:false":                 `!(connected)`,
		"shadow.desired.a.b:*":                         `holds(has(desired.a.b))`,
		"thingTypeName:pump AND shadow.version > 3":    `(holds(model == "pump") && holds(version > 3.0))`,
		`shadow.reported.odd-name:x`:                   `holds(reported["odd-name"] == "x")`,
		"(thingName:a OR thingName:b) AND thingName:c": `((holds(id == "a") || holds(id == "b")) && holds(id == "c"))`,
		`thingName:a\:b`:                               `holds(id == "a:b")`,
		"shadow.delta.x < abc":                         `holds(delta.x < "abc")`,
		"shadow.reported.t:-5":                         `holds(reported.t == -5.0 || reported.t == "-5")`,
		"NOT (thingName:a)":                            `!holds(id == "a")`,
		"shadow.reported.t:>5":                         `holds(reported.t > 5.0)`,
		"shadow.reported.t:[* TO *]":                   `holds(has(reported.t))`,
	} {
		got, err := parseIndexQuery(query)
		if err != nil || got != want {
			t.Errorf("%s:\n got %s (%v)\nwant %s", query, got, err, want)
			continue
		}
		if _, err := expr.Compile(got, env); err != nil {
			t.Errorf("%s: %s: %v", query, got, err)
		}
	}
	for query, want := range map[string]string{
		"": "empty", "thingName:a thingName:b": "AND or OR is missing", "pump-1": "there is no field", "shadow.reported:x": "there is no field", "thingName": "not followed by",
		"thingName:*x": "begins with a wildcard", "(thingName:a": "a ) is missing", "shadow.reported.t:[1 5]": "TO is missing", "shadow.reported.t:[1 TO 5": "a range is", "thingName:": "a value is expected",
		`thingName:"a`: `a " is missing`, "shadow.name.config:1": "there is no field", "shadow.name.config.hasDelta.x:true": "there is no field", "shadow.metadata.reported.x:1": "not indexed here", "connectivity.connected > 1": "no order", "thingName:a AND": "there is no field", "shadow.version:>x": "no number",
		strings.Repeat("(", 20) + "thingName:a": "nested deeper", "deviceDefender.x:1": "not indexed here", "shadow.reported.t >": "a value is expected",
	} {
		if got, err := parseIndexQuery(query); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %s, %v, want an error with %q", query, got, err, want)
		}
	}
}

func FuzzParseIndexQuery(f *testing.F) {
	env, err := expr.NewQueryEnv()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"shadow.reported.temp > 20 AND NOT thingName:(a* OR -b)", `attributes.x:"y z" OR shadow.desired.q:{1 TO 5]`, `a\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		out, err := parseIndexQuery(query)
		if err != nil {
			return
		}
		if _, err := expr.Compile(out, env); err != nil && !strings.Contains(err.Error(), "limit") && !strings.Contains(err.Error(), "recursion") && !strings.Contains(err.Error(), "cost") {
			t.Errorf("%q became %q: %v", query, out, err)
		}
	})
}
