// Command fleet measures queries over all twins, in one process: how long they take with
// 100,000 twins of 20 attributes, beside plain interpretation of the same condition, and
// what the index takes in memory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/bench/subject"
	"github.com/twofold-iot/twofold/bench/table"
	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/twin"
)

type config struct {
	server, data                   string
	twins, attributes, small, runs int
}

func main() {
	var c config
	flag.StringVar(&c.server, "server", "bin/twofold", "the twofold binary")
	flag.StringVar(&c.data, "data", ".cache/bench", "directory for data; must be on a real disk")
	flag.IntVar(&c.twins, "twins", 100_000, "twins that are queried")
	flag.IntVar(&c.attributes, "attributes", 20, "attributes of each")
	flag.IntVar(&c.small, "small", 1_000_000, "small twins whose memory is measured")
	flag.IntVar(&c.runs, "runs", 100, "times that each query is made")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, c)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, c config) error {
	_, err := fmt.Fprintf(w, "machine: %s\ncommit:  %s\n\n", subject.Machine(), subject.Commit())
	if err != nil {
		return err
	}
	figures, err := queries(ctx, c)
	if err != nil {
		return err
	}
	memory, err := million(ctx, c)
	if err != nil {
		return err
	}
	then, err := past(ctx, c)
	if err != nil {
		return err
	}
	return table.Write(w, append(append(figures, memory...), then...))
}

const now twin.Time = 1_795_400_000_000

// world is an index of twins.
type world struct {
	index  *fleet.Index
	engine *fleet.Engine
	env    *expr.Env
	names  []twin.ThingName
	kinds  map[twin.ThingName]*twin.Attributes
}

func newWorld() (*world, error) {
	env, err := expr.NewQueryEnv()
	if err != nil {
		return nil, err
	}
	w := &world{env: env, kinds: map[twin.ThingName]*twin.Attributes{}}
	w.index = fleet.New(fleet.Options{
		Connected:  func(twin.ThingName) bool { return false },
		Attributes: func(twin.ThingName) *twin.Attributes { return &twin.Attributes{} },
		Exists:     func(context.Context, twin.ThingName) (bool, error) { return true, nil },
	})
	w.engine = &fleet.Engine{Index: w.index, Env: env, Now: func() twin.Time { return now }}
	return w, nil
}

// shadow is that of twin i: numbers, modes that few have, a text of its own.
func shadow(i, attributes int) (*twin.Shadow, error) {
	var b strings.Builder
	fmt.Fprintf(&b, `{"state":{"reported":{"mode":%q,"firmware":"1.%d.%d"`, []string{"on", "off", "idle"}[i%3], i%7, i%100)
	for k := range attributes - 3 {
		fmt.Fprintf(&b, `,"a%d":%g`, k, float64((i*(k+3))%9973)/10)
	}
	fmt.Fprintf(&b, `,"serial":"sn-%08d"},"desired":{"mode":"on"}}}`, i)
	req, err := twin.ParseRequest([]byte(b.String()), twin.Limits{})
	if err != nil {
		return nil, err
	}
	c, err := twin.NewChange(twin.ShadowKey{Thing: "t"}, nil, req, now, twin.Limits{}.WithDefaults())
	if err != nil {
		return nil, err
	}
	return c.Current, nil
}

func (w *world) fill(ctx context.Context, n, attributes int) error {
	for i := range n {
		s, err := shadow(i, attributes)
		if err != nil {
			return err
		}
		thing := twin.ThingName(fmt.Sprintf("pump-%07d", i))
		at := &twin.Attributes{Model: []string{"pump", "motor", "valve"}[i%3], Tags: map[string]string{"site": fmt.Sprint("s", i%200)}}
		w.names, w.kinds[thing] = append(w.names, thing), at
		w.index.Settle(&fleet.Note{Thing: thing, Attributes: at, Shadow: s})
		if i%5000 == 0 {
			w.index.Bring(ctx)
		}
	}
	w.index.Bring(ctx)
	return nil
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func queries(ctx context.Context, c config) ([]table.Figure, error) {
	before := heap()
	w, err := newWorld()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := w.fill(ctx, c.twins, c.attributes); err != nil {
		return nil, err
	}
	took := time.Since(start)
	w.kinds = nil
	names := w.names
	w.names = nil
	bytes := float64(heap()-before-uint64(len(names))*16) / float64(c.twins)
	figures := []table.Figure{
		{What: fmt.Sprintf("index of %d twins × %d attributes: memory of a twin", c.twins, c.attributes), Value: fmt.Sprintf("%.0f B", bytes), Goal: verdict(bytes <= 1536, "≤ 1,536 B")},
		{What: "  made, with parsing of the shadows", Value: fmt.Sprintf("%.0f twins/s", float64(c.twins)/took.Seconds())},
	}
	for _, q := range []struct {
		what, where string
		most        time.Duration
	}{
		{"filter, three conditions, nothing declared", `reported.a3 > 500.0 && reported.a7 < 300.0 && reported.mode == "on"`, 40 * time.Millisecond},
		{"  with arithmetic, or and a text", `(reported.a1 + reported.a2 > 900.0 || reported.firmware.startsWith("1.3")) && !(reported.mode == "off")`, 40 * time.Millisecond},
		{"selective equality of a tag", `tags.site == "s7"`, 2 * time.Millisecond},
		{"  of a text that one twin has", `reported.serial == "sn-00004711"`, 2 * time.Millisecond},
		{"a drift that is older than ten minutes", `now - driftSince > duration("10m")`, 40 * time.Millisecond},
	} {
		l, err := table.Measure(c.runs, func(int) error {
			_, err := w.engine.Query(ctx, &fleet.Request{Where: q.where})
			return err
		})
		if err != nil {
			return nil, err
		}
		figures = append(figures, table.Figure{What: q.what, Value: l.String(), Goal: verdict(l.At(0.5) <= q.most, "p50 ≤ "+q.most.String())})
	}
	plain, err := w.interpreted(ctx, names, c)
	if err != nil {
		return nil, err
	}
	figures = append(figures, plain)
	l, err := table.Measure(c.runs, func(int) error {
		_, err := w.engine.Aggregate(ctx, &fleet.AggregateRequest{GroupBy: []string{"tags.site"}, Figures: []string{"count()", "p95(reported.a3)"}})
		return err
	})
	return append(figures, table.Figure{What: "group by a tag with 200 values, count and p95", Value: l.String(), Goal: verdict(l.At(0.5) <= 60*time.Millisecond, "p50 ≤ 60ms")}), err
}

// interpreted is the first filter by the interpreter alone, over shadows that are at hand.
func (w *world) interpreted(ctx context.Context, names []twin.ThingName, c config) (table.Figure, error) {
	const where = `reported.a3 > 500.0 && reported.a7 < 300.0 && reported.mode == "on"`
	p, err := expr.Compile(where, w.env)
	if err != nil {
		return table.Figure{}, err
	}
	shadows := make([]*twin.Shadow, len(names))
	for i := range shadows {
		if shadows[i], err = shadow(i, c.attributes); err != nil {
			return table.Figure{}, err
		}
	}
	found := 0
	l, err := table.Measure(max(3, c.runs/20), func(int) error {
		found = 0
		for i, s := range shadows {
			r := p.Interpret(&expr.Inputs{ID: names[i], Shadow: s, Now: now})
			if r.Holds() {
				found++
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return table.Figure{}, err
	}
	page, err := w.engine.Query(ctx, &fleet.Request{Where: where, Limit: 1})
	if err == nil && page.Total != found {
		err = fmt.Errorf("the query finds %d twins, the interpreter %d", page.Total, found)
	}
	return table.Figure{What: "  the first of these by plain interpretation, shadows in memory", Value: l.String()}, err
}

func million(ctx context.Context, c config) ([]table.Figure, error) {
	if c.small == 0 {
		return nil, nil
	}
	before := heap()
	w, err := newWorld()
	if err != nil {
		return nil, err
	}
	if err := w.fill(ctx, c.small, 3); err != nil {
		return nil, err
	}
	w.names, w.kinds = nil, nil
	bytes := float64(heap() - before)
	if w.index.Len() != c.small {
		return nil, errors.New("twins are missing")
	}
	most := 2e9 * float64(c.small) / 1e6
	return []table.Figure{{
		What: fmt.Sprintf("index of %d small twins (3 attributes, a tag): memory", c.small), Value: fmt.Sprintf("%.0f MB", bytes/1e6), Goal: verdict(bytes <= most, fmt.Sprintf("≤ %.0f MB", most/1e6)),
	}}, nil
}

func verdict(reached bool, goal string) string {
	if reached {
		return goal + ": reached"
	}
	return goal + ": missed"
}
