// Package builtin holds the models that come with the program: definitions to start from,
// which are in force only when somebody applies them.
package builtin

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

//go:embed models/*.yaml
var files embed.FS

// Names lists the models in order.
func Names() []string {
	entries, err := files.ReadDir("models")
	if err != nil { // it is in the program
		panic(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// Source returns the definition of a model; the error lists those there are.
func Source(name string) ([]byte, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("there is no built-in model %q; there are %s", name, strings.Join(Names(), ", "))
	}
	return files.ReadFile(path.Join("models", name+".yaml"))
}

// About returns the first sentence of what a model says of itself.
func About(name string) string {
	source, err := Source(name)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(source), "\n")
	about, _, _ := strings.Cut(strings.TrimPrefix(first, "# "), ". ")
	return strings.TrimSuffix(about, ".")
}
