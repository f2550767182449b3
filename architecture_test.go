package twofold_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/twofold-iot/twofold/"

// rule says what a package may import of ours, and why it is there at all.
type rule struct {
	may []string
	why string
}

// imports is the table of docs/ARCHITECTURE.md. A package that is not in it may
// not exist; an import that is not in it may not either.
var imports = map[string]rule{
	"twin":                       {nil, "the nouns and pure rules import nothing of ours"},
	"internal/clock":             {nil, "the time of a world that may run faster: nothing of ours"},
	"internal/wire":              {nil, "MQTT as clients speak it, for virtual devices, loads and checks: apart from the codec of the server, so that both cannot be wrong in the same way"},
	"internal/sim":               {[]string{"twin", "internal/clock", "internal/model", "internal/wire"}, "virtual devices: physics of a model, firmware, and a network of their own; nothing of the server"},
	"internal/store":             {[]string{"twin"}, "the contract speaks in nouns only"},
	"internal/store/storetest":   {[]string{"twin", "internal/store"}, "one suite for every store"},
	"internal/store/pebblestore": {[]string{"twin", "internal/store"}, "a store knows nothing above the contract"},
	"internal/intent":            {[]string{"twin"}, "the life of what is asked of things: pure, whatever keeps it"},
	"internal/engine":            {[]string{"twin", "internal/store", "internal/expr", "internal/model", "internal/intent", "internal/clock"}, "the write path knows the contract, never a store or a door; what a model computes is part of the event"},
	"internal/feed":              {[]string{"twin"}, "the feed goes by events and positions, whatever keeps them"},
	"internal/history":           {[]string{"twin", "internal/store"}, "reads the past through the contract"},
	"internal/series":            {[]string{"twin"}, "the encoding of samples and their figures: no disk, no clock"},
	"internal/bridge":            {[]string{"twin"}, "two MQTT clients, given what takes a message here"},
	"internal/telemetry":         {[]string{"twin", "internal/store", "internal/series"}, "the way of samples, through the contract"},
	"internal/proof":             {[]string{"twin", "internal/store"}, "checks the past through the contract"},
	"internal/expr":              {[]string{"twin"}, "the expression language: over the nouns, pure"},
	"internal/model":             {[]string{"twin", "internal/expr"}, "models: definitions and pure evaluation, whatever keeps them"},
	"internal/model/builtin":     {nil, "definitions that come with the program: files alone"},
	"internal/wot":               {[]string{"twin", "internal/model"}, "describes a twin by what its model declares and by what is known of it"},
	"internal/model/convert":     {[]string{"internal/wot"}, "what other systems call a kind of thing, as a model: texts alone"},
	"internal/anomaly":           {nil, "how unusual numbers are: no disk, no clock, no twins"},
	"internal/profile":           {[]string{"twin", "internal/history", "internal/telemetry", "internal/series"}, "what a twin does by itself, from its past alone"},
	"internal/boost":             {nil, "boosted trees; pure figures"},
	"internal/rul":               {[]string{"internal/boost"}, "what is left of lives, learned from those that ended; pure figures"},
	"internal/trend":             {nil, "when a degradation reaches a limit; pure figures"},
	"internal/predict":           {[]string{"twin", "internal/store", "internal/history", "internal/telemetry", "internal/series", "internal/anomaly", "internal/trend"}, "watches the measurements of twins by what is stored of them"},
	"internal/models":            {[]string{"twin", "internal/expr", "internal/model", "internal/history", "internal/telemetry", "internal/series", "internal/profile"}, "the models in force, and what they compute of a twin with its past"},
	"internal/fleet":             {[]string{"twin", "internal/expr"}, "all twins in columns: over the nouns, fed by whoever knows what has become durable"},
	"internal/group":             {[]string{"twin", "internal/fleet", "internal/clock"}, "live groups: conditions over the fleet whose members are events and records, whatever keeps them"},
	"internal/command":           {[]string{"twin", "internal/clock"}, "the life of commands goes by events and records, whatever keeps them and whoever carries them"},
	"internal/job":               {[]string{"twin", "internal/clock"}, "the life of jobs goes by events and records, whatever keeps them and whoever tells devices"},
	"internal/action":            {[]string{"twin", "internal/feed"}, "follows the feed, and sends what behaviours ask for, whoever carries it"},
	"internal/webhook":           {[]string{"twin", "internal/feed"}, "follows the feed as it is, and keeps records, whatever keeps them"},
	"internal/door/mqtt":         {[]string{"twin", "internal/door/mqtt/packet"}, "a door knows no other door and declares what it needs"},
	"internal/door/mqtt/packet":  {nil, "the codec knows bytes, not twins"},
	"internal/door/awsiot":       {[]string{"twin", "internal/expr", "internal/fleet"}, "a door knows no other door and declares what it needs; queries of AWS become expressions over the fleet"},
	"internal/door/device":       {[]string{"twin"}, "a door knows no other door and declares what it needs"},
	"internal/door/rest":         {[]string{"twin", "internal/history", "internal/telemetry", "internal/model", "internal/models", "internal/fleet", "internal/group", "internal/wot", "internal/profile", "internal/intent", "internal/predict"}, "a door knows no other door; it shows pages of history and telemetry, what models compute and what queries find, as they are, and a copy of their types would be all that lay between"},
	"internal/server": {[]string{
		"twin", "internal/store", "internal/store/pebblestore", "internal/engine",
		"internal/feed", "internal/command", "internal/job", "internal/webhook", "internal/history", "internal/proof", "internal/telemetry", "internal/bridge", "internal/model", "internal/models", "internal/expr", "internal/fleet", "internal/group", "internal/action", "internal/profile", "internal/intent", "internal/predict",
		"internal/door/mqtt", "internal/door/awsiot", "internal/door/device", "internal/door/rest", "internal/clock",
	}, "the only wiring"},
	"client":      {[]string{"twin"}, "a user of the public API"},
	"cmd/twofold": {[]string{"internal/anomaly", "internal/rul", "twin", "internal/server", "internal/proof", "internal/model/builtin", "internal/model/convert", "client"}, "talks to a server over its public API, proves the past of one that is stopped, and has models to start from"},
}

// engines names the third-party engines that one package alone may name; YAML is read
// by the configuration and models, and written where models are made of other documents.
var engines = map[string]string{
	"github.com/cockroachdb/pebble/":     "internal/store/pebblestore",
	"github.com/go-json-experiment/json": "twin",
	"cel.dev/":                           "internal/expr",
	"github.com/goccy/go-yaml":           "internal/server internal/model internal/model/convert",
	"github.com/spf13/cobra":             "cmd/twofold",
	"github.com/coder/websocket":         "internal/door/mqtt",
}

// clockFree packages take the time from outside.
var clockFree = []string{"twin", "internal/store", "internal/engine", "internal/series", "internal/expr", "internal/model"}

type listed struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if name == p.ImportPath || testTool(name) {
			continue
		}
		r, known := imports[name]
		if !known {
			t.Errorf("package %s is not in the table of docs/ARCHITECTURE.md; add it with a reason, or merge it into another", name)
			continue
		}
		for _, imp := range p.Imports {
			ours := strings.TrimPrefix(imp, module)
			if ours != imp && !slices.Contains(r.may, ours) {
				t.Errorf("%s imports %s, but: %s", name, ours, r.why)
			}
			for prefix, owner := range engines {
				if strings.HasPrefix(imp, prefix) && !slices.Contains(strings.Fields(owner), name) {
					t.Errorf("%s imports %s, which only %s may name", name, imp, owner)
				}
			}
		}
	}
}

func TestImports_clock(t *testing.T) {
	for _, p := range list(t) {
		if !slices.Contains(clockFree, strings.TrimPrefix(p.ImportPath, module)) {
			continue
		}
		for _, f := range p.GoFiles {
			b, err := os.ReadFile(p.Dir + "/" + f)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), "time.Now()") {
				t.Errorf("%s/%s calls time.Now: take the clock from outside, so that replay is exact", p.ImportPath, f)
			}
		}
	}
}

// testTool: what is under bench and e2e measures and tests the product and may
// import all of it.
func testTool(name string) bool {
	return strings.HasPrefix(name, "bench/") || strings.HasPrefix(name, "e2e")
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var ps []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}
