package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/internal/intent"
	"github.com/twofold-iot/twofold/internal/model"
	"github.com/twofold-iot/twofold/twin"
)

// fleetPage is how many twins are read at a time when the index is made.
const fleetPage = 2000

// newFleet makes the index of all twins; it is empty until [Server.loadFleet].
func (s *Server) newFleet() (err error) {
	s.index = fleet.New(fleet.Options{
		Connected:  func(thing twin.ThingName) bool { return s.things != nil && s.things.Connected(thing) },
		Attributes: func(thing twin.ThingName) *twin.Attributes { return s.engine.Attributes(thing) },
		Exists:     s.hasShadow, Drift: s.drift, Brought: s.brought,
	})
	s.models.Removed = func(name string) { s.index.Uncompute(context.Background(), name) }
	env, err := expr.NewQueryEnv()
	s.fleet = &fleet.Engine{Index: s.index, Env: env, Now: func() twin.Time { return s.engine.Now() }, Rebuild: s.fleetAt}
	return err
}

// runGroups keeps the members of live groups.
func (s *Server) runGroups() {
	ctx, stop := context.WithCancel(context.Background())
	s.stopLive = stop
	s.watching.Go(func() { s.live.Run(ctx) })
}

// brought tells live groups of twins that have changed.
func (s *Server) brought(things func(yield func(twin.ThingName) bool)) {
	if s.live != nil {
		s.live.Brought(things)
	}
}

// drift is what a device still has to do, as the model of its twin sees it.
func (s *Server) drift(name string, sh *twin.Shadow) *twin.Node {
	m, _ := s.models.Model(name)
	return m.Drift(sh)
}

// hasShadow reports whether a thing has a shadow that lives.
func (s *Server) hasShadow(ctx context.Context, thing twin.ThingName) (bool, error) {
	classic, err := s.engine.Shadow(ctx, twin.ShadowKey{Thing: thing})
	if err != nil || classic.Exists() {
		return true, err
	}
	names, err := s.engine.ShadowNames(ctx, thing, "", 1)
	return len(names) > 0, err
}

// settled is [engine.Options].Settled: it lets the index know before anybody is answered.
func (s *Server) settled(st *engine.Settled) {
	if st.Thing.IsModelLog() || st.Event != nil && st.Event.Kind == twin.EventGroup {
		return
	}
	if c := st.Change; c != nil && c.Key.Shadow == "" {
		if p := s.predict.Load(); p != nil { // before, all things are looked at
			p.Changed(st.Thing)
		}
	}
	n := fleet.Note{Thing: st.Thing, Attributes: st.Attributes, Computed: st.Computed}
	if st.Memory != nil {
		n.Alarms, n.State = raised(st.Memory), stateOf(st.Memory)
	}
	if c := st.Change; c != nil {
		if c.Key.Shadow == "" {
			n.Shadow = c.Current
		} else {
			n.Named, n.Shadows = true, map[twin.ShadowName]*twin.Shadow{c.Key.Shadow: c.Current}
		}
	}
	if n.Shadow == nil {
		n.Shadow = st.Renewed
	}
	if st.Intents != nil && st.Key.Shadow == "" {
		n.Intents = asked(st.Intents)
	}
	if ev := st.Event; ev != nil {
		n.Presence = ev.Kind == twin.EventConnected || ev.Kind == twin.EventDisconnected
	}
	s.index.Settle(&n)
}

func raised(m *model.Memory) map[string]bool {
	all := map[string]bool{}
	for _, a := range m.Alarms() {
		if a.Raised() {
			all[a.Name] = a.State == model.AlarmAcked
		}
	}
	return all
}

// asked is what the index knows of intents.
func asked(l *intent.List) *fleet.Intents {
	switch first := l.Oldest(); {
	case first != nil:
		return &fleet.Intents{State: string(first.State()), Since: first.Asked, Open: len(l.Open)}
	case l != nil && l.Last != nil:
		return &fleet.Intents{State: string(l.Last.State), Since: l.Last.Asked}
	}
	return &fleet.Intents{}
}

func stateOf(m *model.Memory) *fleet.State {
	at := m.State()
	return &fleet.State{Name: at.State, Since: at.Since}
}

// loadFleet reads all twins into the index. Nothing is served yet.
func (s *Server) loadFleet(ctx context.Context) error {
	start := time.Now()
	loaded := 0
	for thing := range s.engine.AllAttributes() {
		if thing.IsModelLog() {
			continue
		}
		s.loadTwin(ctx, thing)
		if loaded++; loaded%fleetPage == 0 {
			s.index.Bring(ctx)
		}
	}
	for after := twin.ThingName(""); ; {
		things, err := s.engine.Things(ctx, after, fleetPage)
		if err != nil {
			return fmt.Errorf("read the twins: %w", err)
		}
		if len(things) == 0 {
			break
		}
		for _, thing := range things {
			if s.engine.Attributes(thing).Empty() { // others are there
				s.loadTwin(ctx, thing)
			}
		}
		after = things[len(things)-1]
		s.index.Bring(ctx)
	}
	s.index.Bring(ctx)
	if err := s.loadNamed(ctx); err != nil {
		return err
	}
	s.log.Debug("twins are in the index", slog.Int("twins", s.index.Len()), slog.Duration("took", time.Since(start)))
	ctx, stop := context.WithCancel(context.Background())
	s.stopIndex = stop
	s.indexing.Go(func() { s.index.Run(ctx) })
	return nil
}

func (s *Server) notIndexed(thing twin.ThingName, err error) {
	s.log.Error("a twin is left out of the index, or a part of it", slog.String("thing", string(thing)), slog.String("error", err.Error()))
}

// loadTwin notes one twin. One that cannot be read is left out, or what of it cannot be, and
// hurts nobody else.
func (s *Server) loadTwin(ctx context.Context, thing twin.ThingName) {
	at := s.engine.Attributes(thing)
	shadow, err := s.engine.Shadow(ctx, twin.ShadowKey{Thing: thing})
	if err != nil {
		s.notIndexed(thing, err)
		return
	}
	memory := s.engine.Memory(thing)
	n := fleet.Note{Thing: thing, Attributes: at, Shadow: shadow, Named: true, Alarms: raised(memory), State: stateOf(memory)}
	if l := s.engine.Intents(twin.ShadowKey{Thing: thing}); l != nil {
		n.Intents = asked(l)
	}
	if m, _ := s.models.Model(at.Model); m != nil {
		n.Computed = compute(m, thing, at, shadow, s.engine.Now())
	}
	s.index.Settle(&n)
	infos, _, err := s.telemetry.Reader().Series(ctx, thing)
	if err != nil {
		s.notIndexed(thing, err)
		return
	}
	for i := range infos {
		x := &infos[i]
		s.index.Sample([]twin.Row{{Thing: thing, Time: x.Last, Arrival: x.Last, Values: []twin.Measurement{{Metric: x.Metric, Value: x.Value}}}})
	}
}

// loadNamed reads the named shadows of all things into the index.
func (s *Server) loadNamed(ctx context.Context) error {
	for after := (twin.ShadowKey{}); ; {
		keys, err := s.engine.NamedShadows(ctx, after, fleetPage)
		if err != nil {
			return fmt.Errorf("read the twins: %w", err)
		}
		for _, key := range keys {
			shadow, err := s.engine.Shadow(ctx, key)
			if err != nil {
				s.notIndexed(key.Thing, err)
				continue
			}
			s.index.Settle(&fleet.Note{Thing: key.Thing, Shadows: map[twin.ShadowName]*twin.Shadow{key.Shadow: shadow}})
		}
		s.index.Bring(ctx)
		if len(keys) < fleetPage {
			return nil
		}
		after = keys[len(keys)-1]
	}
}

// registry shows the AWS door what is known of things.
type registry struct {
	*engine.Engine
	server *Server
}

// Models returns the models in force, with the time since when.
func (r registry) Models() map[string]twin.Time {
	all := map[string]twin.Time{}
	for _, v := range r.server.models.List() {
		all[v.Name] = v.Time
	}
	return all
}

// Exists reports whether there is such a twin.
func (r registry) Exists(ctx context.Context, thing twin.ThingName) (bool, error) {
	if !r.Attributes(thing).Empty() {
		return true, nil
	}
	return r.server.hasShadow(ctx, thing)
}
