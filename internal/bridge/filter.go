package bridge

import "strings"

// unshared returns the filter of a shared subscription, $share/group/filter, or the filter
// itself.
func unshared(filter string) (string, bool) {
	rest, shared := strings.CutPrefix(filter, "$share/")
	if !shared {
		return filter, true
	}
	group, rest, ok := strings.Cut(rest, "/")
	return rest, ok && group != "" && !strings.ContainsAny(group, "+#")
}

// validFilter says whether a filter is one: [MQTT-4.7.1-1] and [MQTT-4.7.1-2].
func validFilter(filter string) bool {
	if filter == "" || len(filter) > 65535 || strings.ContainsRune(filter, 0) {
		return false
	}
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		if l == "#" && i == len(levels)-1 || l == "+" {
			continue
		}
		if strings.ContainsAny(l, "+#") {
			return false
		}
	}
	return true
}

// overlap says whether some topic matches both filters.
func overlap(a, b string) bool {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	// A wildcard in front matches no topic that begins with $ [MQTT-4.7.2-1].
	if wild(x[0]) && strings.HasPrefix(y[0], "$") || wild(y[0]) && strings.HasPrefix(x[0], "$") {
		return false
	}
	for i := 0; ; i++ {
		switch {
		case i < len(x) && x[i] == "#", i < len(y) && y[i] == "#":
			return true
		case i == len(x) || i == len(y):
			// "a/#" matches "a" as well.
			return len(x) == len(y) || i == len(x) && y[i] == "#" || i == len(y) && x[i] == "#"
		case x[i] != y[i] && x[i] != "+" && y[i] != "+":
			return false
		}
	}
}

func wild(level string) bool { return level == "+" || level == "#" }
