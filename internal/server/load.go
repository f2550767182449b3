package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Source says where configuration comes from. A later layer wins over an earlier
// one: defaults, file, environment, flags.
type Source struct {
	File  string            // path of the YAML file; empty: none
	Env   []string          // as os.Environ gives it
	Flags map[string]string // text by key, of the flags that were given
}

// Layer names where a value came from.
type Layer string

// The layers, weakest first.
const (
	LayerDefault Layer = "default"
	LayerFile    Layer = "file"
	LayerEnv     Layer = "env"
	LayerFlag    Layer = "flag"
)

// Origin is the layer of a value and the place in it.
type Origin struct {
	Layer Layer
	Place string // path:line, variable or flag
}

// String gives "default", "file twofold.yaml:3", "env TWOFOLD_DATA", "flag --data".
func (o Origin) String() string {
	if o.Place == "" {
		return string(o.Layer)
	}
	return string(o.Layer) + " " + o.Place
}

// Setting is one value with where it came from.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Usage  string `json:"-"`
	List   bool   `json:"-"` // Value is comma-separated
	Origin Origin `json:"-"`
}

// Loaded is a configuration with the story of each value.
type Loaded struct {
	Config   Config
	Settings []Setting
	Warnings []string // worth a log line, no reason to stop
}

// ConfigError is a configuration that cannot be used: what is wrong, where, and
// what to do, one fault per entry.
type ConfigError struct{ Faults []string }

// Error returns the faults, one per line.
func (e *ConfigError) Error() string { return strings.Join(e.Faults, "\n") }

// fileBytesMax is the largest configuration file that is read.
const fileBytesMax = 1 << 20

// Load reads and checks a configuration. All faults are reported at once, in a
// [ConfigError].
func Load(src Source) (*Loaded, error) {
	l := loader{loaded: &Loaded{Config: Default()}, origin: map[string]Origin{}}
	l.settings = l.loaded.Config.settings()
	if src.File != "" {
		l.file(src.File)
	}
	l.env(src.Env)
	l.flags(src.Flags)
	for _, s := range l.settings {
		o, ok := l.origin[s.key]
		if !ok {
			o = Origin{Layer: LayerDefault}
		}
		_, list := s.value.(*listValue)
		l.loaded.Settings = append(l.loaded.Settings, Setting{
			Key: s.key, Value: s.value.String(), Usage: strings.ReplaceAll(s.usage, "`", ""), List: list, Origin: o,
		})
	}
	l.faults = append(l.faults, l.check()...)
	if len(l.faults) > 0 {
		return nil, &ConfigError{Faults: l.faults}
	}
	return l.loaded, nil
}

type loader struct {
	loaded   *Loaded
	settings []setting
	origin   map[string]Origin
	faults   []string
}

func (l *loader) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

func (l *loader) find(key string) (setting, bool) {
	i := slices.IndexFunc(l.settings, func(s setting) bool { return s.key == key })
	if i < 0 {
		return setting{}, false
	}
	return l.settings[i], true
}

// insert puts a setting of a model behind the others of its section.
func (l *loader) insert(s setting) {
	i := slices.IndexFunc(l.settings, func(o setting) bool { return o.key == "retention.events" })
	for i++; i < len(l.settings) && strings.HasPrefix(l.settings[i].key, modelKeys) && l.settings[i].key < s.key; i++ {
	}
	l.settings = slices.Insert(l.settings, i, s)
}

func (l *loader) set(s setting, text string, o Origin) {
	if err := s.value.Set(text); err != nil {
		l.fault("%s: %s: %v", o.Place, s.key, err)
		return
	}
	l.origin[s.key] = o
}

func (l *loader) file(path string) {
	data, err := readFile(path)
	if err != nil {
		l.fault("%s: %v; check --config", path, err)
		return
	}
	leaves, err := parseYAML(data)
	if err != nil {
		l.fault("%s:%v", path, err)
		return
	}
	for _, leaf := range leaves {
		place := fmt.Sprintf("%s:%d", path, leaf.line)
		s, ok := l.find(leaf.key)
		if !ok {
			made, of, err := l.loaded.Config.Retention.modelSetting(leaf.key)
			if err != nil {
				l.fault("%s: %s: %v", place, leaf.key, err)
				continue
			}
			if s, ok = made, of; ok {
				l.insert(s)
			}
		}
		if !ok {
			l.fault("%s: unknown key %s%s", place, leaf.key, l.suggest(leaf.key))
			continue
		}
		if leaf.fault != "" {
			l.fault("%s: %s %s", place, leaf.key, leaf.fault)
			continue
		}
		if _, list := s.value.(*listValue); leaf.list && !list {
			l.fault("%s: %s takes one value, not a list", place, leaf.key)
			continue
		}
		l.set(s, leaf.text, Origin{LayerFile, place})
	}
}

func readFile(path string) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err // the path is in the message already
		}
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(data) > fileBytesMax {
		return nil, fmt.Errorf("is larger than %d bytes", fileBytesMax)
	}
	return data, nil
}

// env reads the variables of the known keys. A variable that starts with TWOFOLD_
// and is none of them is only warned of: Kubernetes sets such variables in every
// container next to a service called twofold.
func (l *loader) env(environ []string) {
	for _, kv := range environ {
		name, text, ok := strings.Cut(kv, "=")
		if !ok || !strings.HasPrefix(name, envPrefix) || name == "TWOFOLD_SERVER" || name == "TWOFOLD_CONFIG" {
			continue
		}
		i := slices.IndexFunc(l.settings, func(s setting) bool { return EnvName(s.key) == name })
		if i < 0 {
			l.loaded.Warnings = append(l.loaded.Warnings, name+" is no setting and is ignored")
			continue
		}
		l.set(l.settings[i], text, Origin{LayerEnv, name})
	}
}

func (l *loader) flags(flags map[string]string) {
	for _, s := range l.settings {
		if text, ok := flags[s.key]; ok && s.flag != "" {
			l.set(s, text, Origin{LayerFlag, "--" + s.flag})
		}
	}
}

// place says where a key was set, for messages about what it was set to.
func (l *loader) place(key string) string {
	if o, ok := l.origin[key]; ok {
		return o.Place + ": " + key
	}
	return key
}

func (l *loader) suggest(key string) string {
	best, bestDistance := "", 1+len(key)/3
	for _, s := range l.settings {
		d := distance(key, s.key)
		// A right name in the wrong section is near as well.
		if last := s.key[strings.LastIndexByte(s.key, '.')+1:]; last == key[strings.LastIndexByte(key, '.')+1:] {
			d = min(d, 2)
		}
		if d <= bestDistance && (best == "" || d < bestDistance) {
			best, bestDistance = s.key, d
		}
	}
	if best == "" {
		return "; `twofold config print` lists the keys"
	}
	return "; did you mean " + best + "?"
}

// distance is the Levenshtein distance of two keys.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
