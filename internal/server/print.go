package server

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// WriteYAML writes settings as a configuration file, with what each means as a
// comment if comments is set.
func WriteYAML(w io.Writer, settings []Setting, comments bool) error {
	var b strings.Builder
	var section []string
	for _, s := range settings {
		path := strings.Split(s.Key, ".")
		parents, name := path[:len(path)-1], path[len(path)-1]
		same := 0
		for same < min(len(section), len(parents)) && section[same] == parents[same] {
			same++
		}
		for i, parent := range parents[same:] {
			fmt.Fprintf(&b, "%s%s:\n", strings.Repeat("  ", same+i), yamlKey(parent))
		}
		section = parents
		indent := strings.Repeat("  ", len(parents))
		if comments {
			fmt.Fprintf(&b, "%s# %s\n", indent, s.Usage)
		}
		fmt.Fprintf(&b, "%s%s: %s\n", indent, name, yamlValue(s))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func yamlValue(s Setting) string {
	if !s.List {
		return yamlScalar(s.Value)
	}
	var items []string
	for item := range strings.SplitSeq(s.Value, ",") {
		if item != "" {
			items = append(items, yamlScalar(item))
		}
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// yamlKey quotes names that users gave.
func yamlKey(name string) string {
	if strings.Contains(name, ":") {
		return strconv.Quote(name)
	}
	return yamlScalar(name)
}

// yamlScalar quotes what YAML could read as something else.
func yamlScalar(text string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_-:"
	if text == "" || strings.Trim(text, plain) != "" || strings.ContainsAny(text[:1], "-:") || strings.HasSuffix(text, ":") {
		return strconv.Quote(text)
	}
	return text
}

// WriteOrigins writes a line for each setting: key, value, where it came from.
func WriteOrigins(w io.Writer, settings []Setting) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range settings {
		v := s.Value
		if v == "" {
			v = "–"
		}
		if _, err := fmt.Fprintf(tw, "%s\t%s\t(%s)\n", s.Key, v, s.Origin); err != nil {
			return err
		}
	}
	return tw.Flush()
}
