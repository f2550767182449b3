package twin_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// The scripts in testdata are the shadow rules for people who write firmware. Their
// language is described in testdata/README.md.

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	shown := make(map[string]string)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range paragraphs(t, file, text) {
				for _, rule := range p.rules {
					shown[rule] = p.at
				}
				t.Run(p.at, func(t *testing.T) { p.run(t) })
			}
		})
	}
	if t.Failed() {
		return
	}
	for _, rule := range rules {
		if shown[rule.name] == "" {
			t.Errorf("no script shows rule %s: %s", rule.name, rule.text)
		}
		delete(shown, rule.name)
	}
	for name, at := range shown {
		t.Errorf("%s: there is no rule %q in rules_test.go", at, name)
	}
}

// line is a command of a script with what belongs to it.
type line struct {
	at   string // file:line
	word string
	rest string
}

// paragraph is what a rule line starts: a fresh shadow and a story about it.
type paragraph struct {
	at    string
	rules []string
	lines []line
}

// paragraphs splits a script. A line that is indented continues the one before it.
func paragraphs(t *testing.T, file string, text []byte) []*paragraph {
	t.Helper()
	var ps []*paragraph
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, 1<<20)
	for n := 1; sc.Scan(); n++ {
		s := sc.Text()
		at := fmt.Sprintf("%s:%d", filepath.Base(file), n)
		switch {
		case strings.TrimSpace(s) == "" || s[0] == '#':
			continue
		case s[0] == ' ' || s[0] == '\t':
			if len(ps) == 0 || len(ps[len(ps)-1].lines) == 0 {
				t.Fatalf("%s: nothing to continue", at)
			}
			p := ps[len(ps)-1]
			l := &p.lines[len(p.lines)-1]
			l.rest += strings.TrimSpace(s)
			continue
		}
		word, rest, _ := strings.Cut(s, " ")
		if word == "rule" {
			names, _, ok := strings.Cut(rest, ":")
			if !ok {
				t.Fatalf("%s: a rule line is \"rule NAMES: text\"", at)
			}
			ps = append(ps, &paragraph{at: at, rules: strings.Fields(names)})
			continue
		}
		if len(ps) == 0 {
			t.Fatalf("%s: a script begins with a rule line", at)
		}
		ps[len(ps)-1].lines = append(ps[len(ps)-1].lines, line{at, word, strings.TrimSpace(rest)})
	}
	return ps
}

// world is a shadow with a clock, and the outcome of the last command.
type world struct {
	key    twin.ShadowKey
	lim    twin.Limits
	now    twin.Time
	shadow *twin.Shadow

	req    *twin.Request
	change *twin.Change
	answer []byte // of a get
	err    error
	told   bool // a rejection has been expected
}

func (p *paragraph) run(t *testing.T) {
	w := &world{key: twin.ShadowKey{Thing: "lamp-1"}, now: 1000_000}
	for _, l := range p.lines {
		if err := w.do(l); err != nil {
			t.Fatalf("%s: %s: %v", l.at, l.word, err)
		}
	}
	if err := w.settled(); err != nil {
		t.Fatalf("%s: at the end: %v", p.at, err)
	}
}

// settled fails if the last command was rejected and the script does not say so.
func (w *world) settled() error {
	if w.err != nil && !w.told {
		return fmt.Errorf("rejected, and the script does not expect it: %w", w.err)
	}
	return nil
}

func (w *world) do(l line) error {
	switch l.word {
	case "update", "update-bytes", "get", "delete", "at", "limit", "named":
		if err := w.settled(); err != nil {
			return err
		}
		return w.command(l)
	}
	return w.expect(l)
}

func (w *world) command(l line) error {
	payload := []byte(l.rest)
	switch l.word {
	case "at":
		return w.at(l.rest)
	case "named":
		w.key.Shadow = twin.ShadowName(l.rest)
		return nil
	case "limit":
		return w.limit(l.rest)
	}
	w.req, w.change, w.answer, w.err, w.told = nil, nil, nil, nil, false
	switch l.word {
	case "update-bytes":
		s, err := strconv.Unquote(l.rest)
		if err != nil {
			return err
		}
		return w.update([]byte(s))
	case "update":
		return w.update(payload)
	case "get":
		w.req, w.err = twin.ParseToken(payload, w.lim)
		if w.err == nil && !w.shadow.Exists() {
			w.err = twin.ErrNoShadow(w.key)
		}
		if w.err == nil {
			w.answer = twin.AppendGet(nil, w.shadow, w.now, w.req)
		}
	case "delete":
		w.req, _ = twin.ParseToken(payload, w.lim) // "The content of the message is ignored"
		if w.change, w.err = twin.NewDelete(w.key, w.shadow, w.req, w.now); w.err == nil {
			w.shadow = w.change.Current
		}
	}
	return nil
}

// update does what the write path does, with a store in between.
func (w *world) update(payload []byte) error {
	if w.req, w.err = twin.ParseRequest(payload, w.lim); w.err != nil {
		return nil
	}
	var before []byte
	if w.shadow != nil {
		before = w.shadow.AppendBinary(nil)
	}
	c, err := twin.NewChange(w.key, w.shadow, w.req, w.now, w.lim)
	if w.shadow != nil && !bytes.Equal(before, w.shadow.AppendBinary(nil)) {
		return fmt.Errorf("the old shadow was altered")
	}
	if err != nil {
		w.err = err
		return nil
	}
	w.change = c
	w.shadow, err = twin.DecodeShadow(c.Current.AppendBinary(nil))
	return err
}

func (w *world) at(when string) error {
	if d, ok := strings.CutPrefix(when, "+"); ok {
		step, err := time.ParseDuration(d)
		w.now += twin.Time(step.Milliseconds())
		return err
	}
	seconds, err := strconv.ParseInt(when, 10, 64)
	w.now = twin.Time(seconds * 1000)
	return err
}

func (w *world) limit(what string) error {
	name, number, _ := strings.Cut(what, " ")
	n, err := strconv.Atoi(number)
	switch name {
	case "bytes":
		w.lim.DocumentBytesMax = n
	case "depth":
		w.lim.DepthMax = n
	case "token":
		w.lim.TokenBytesMax = n
	default:
		return fmt.Errorf("no limit %q", name)
	}
	return err
}

// statuses is how a door tells the kinds; it is here only so that scripts can be
// read beside the table of AWS.
var statuses = map[twin.ErrorKind]string{
	twin.KindInvalid: "400", twin.KindNotFound: "404", twin.KindConflict: "409",
	twin.KindTooLarge: "413", twin.KindEncoding: "415",
}

func (w *world) expect(l line) error {
	if l.word == "rejected" {
		if w.err == nil {
			return fmt.Errorf("it was accepted")
		}
		w.told = true
		return same(statuses[twin.Kind(w.err)]+" "+twin.ErrorMessage(w.err), l.rest)
	}
	if l.word == "token" { // what a rejection echoes
		if w.req == nil || !w.req.HasToken {
			return same("none", l.rest)
		}
		return same(w.req.ClientToken, l.rest)
	}
	if l.word == "bytes" {
		return same(strconv.Itoa(w.shadow.JSONBytes()), l.rest)
	}
	if err := w.settled(); err != nil {
		return err
	}
	if l.word == "answer" {
		return same(string(w.answer), l.rest)
	}
	if w.change == nil {
		return fmt.Errorf("there is no change to look at")
	}
	switch l.word {
	case "accepted":
		return same(string(w.change.AppendAccepted(nil)), l.rest)
	case "delta":
		if !w.change.HasDelta() {
			return fmt.Errorf("there is no delta")
		}
		return same(string(w.change.AppendDelta(nil)), l.rest)
	case "documents":
		return same(string(w.change.AppendDocuments(nil)), l.rest)
	case "patch":
		return same(string(w.change.Patch()), l.rest)
	case "no": // no delta, no documents
		got := map[string][]byte{"delta": w.change.AppendDelta(nil), "documents": w.change.AppendDocuments(nil)}
		if l.rest == "delta" && w.change.HasDelta() {
			return fmt.Errorf("HasDelta is true")
		}
		return same(string(got[l.rest]), "")
	case "version":
		return same(strconv.FormatUint(uint64(w.change.Version), 10), l.rest)
	}
	return fmt.Errorf("no such word")
}

func same(got, want string) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("\n got %s\nwant %s", got, want)
}

// TestRules keeps the list of rules itself in order.
func TestRules(t *testing.T) {
	var names []string
	for _, r := range rules {
		if slices.Contains(names, r.name) {
			t.Errorf("rule %s is there twice", r.name)
		}
		names = append(names, r.name)
	}
	for n := range 10 {
		if want := fmt.Sprintf("3.%d", n+1); !slices.Contains(names, want) {
			t.Errorf("rule %s is missing", want)
		}
	}
	for n := range 30 {
		row := fmt.Sprintf("row-%d", n+1)
		if slices.Contains(names, row) == slices.Contains(rowsOfDoors, n+1) {
			t.Errorf("%s must be either here or of the doors", row)
		}
	}
}
