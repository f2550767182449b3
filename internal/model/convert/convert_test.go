package convert_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/internal/model/convert"
)

var update = flag.Bool("update", false, "write the models that are wanted")

// Each document of testdata becomes the model beside it, and that is one.
func TestConvert(t *testing.T) {
	env, err := expr.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d documents, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, format, _ := strings.Cut(strings.TrimSuffix(file, ".json"), ".")
			if got := convert.Detect(source); got != format {
				t.Errorf("it is taken for %q", got)
			}
			m, err := convert.Convert(source, "", convert.Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := strings.TrimSuffix(file, ".json") + ".yaml"
			if *update {
				if err := os.WriteFile(want, m.Source, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			have, err := os.ReadFile(want)
			if err != nil || string(have) != string(m.Source) {
				t.Errorf("got %v\n%s", err, m.Source)
			}
			if p, err := model.Parse(m.Source, env); err != nil || p.Name != m.Name {
				t.Errorf("it is no model: %v", err)
			}
		})
	}
}

func TestConvert_badInput(t *testing.T) {
	for _, row := range [][3]string{
		{"", "", "none of the formats"},
		{"{}", "", "none of the formats"},
		{"{}", "x", `no format "x"`},
		{"[", "dtdl", "no DTDL"},
		{"[]", "dtdl", "no interface"},
		{`{"@id":"dtmi:a;1"}`, "dtdl", "no Interface"},
		{"{}", "iot-events", "no states"},
		{"3", "wot", "no Thing Model"},
		{`{"properties":{"a":3}}`, "wot", "an object is expected"},
		{`[{"@id":"dtmi:a;1","@type":"Interface","extends":"dtmi:a;1"}]`, "dtdl", "ring"},
		{strings.Repeat(" ", convert.SourceBytesMax+1), "", "limit"},
	} {
		if _, err := convert.Convert([]byte(row[0]), row[1], convert.Options{}); err == nil || !strings.Contains(err.Error(), row[2]) {
			t.Errorf("%.40s: %v, want %s", row[0], err, row[2])
		}
	}
}
