package twofold_test

import (
	"os"
	"strings"
	"testing"
)

// TestDependencies compares the direct requirements of go.mod with the list of
// reasons, both ways, and refuses replace directives.
func TestDependencies(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	direct := map[string]bool{}
	for line := range strings.Lines(string(mod)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "replace") {
			t.Errorf("go.mod has %q: a replaced module cannot be installed by users", line)
		}
		name, _, found := strings.Cut(strings.TrimPrefix(line, "require "), " v")
		if found && strings.Contains(name, "/") && !strings.Contains(line, "// indirect") {
			direct[name] = true
		}
	}
	reasons := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		cells := strings.Split(line, "|")
		if len(cells) == 5 && strings.Contains(cells[1], "/") {
			reasons[strings.TrimSpace(cells[1])] = strings.TrimSpace(cells[3]) != ""
		}
	}
	for name := range direct {
		if !reasons[name] {
			t.Errorf("%s is required and has no reason in docs/dependencies.md", name)
		}
	}
	for name := range reasons {
		if !direct[name] {
			t.Errorf("%s is in docs/dependencies.md and not required", name)
		}
	}
}
