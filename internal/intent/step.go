package intent

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Move is an accepted change of a shadow.
type Move struct {
	Change *twin.Change
	// Delta is what a device has to do after it, without what the model says is no wish.
	Delta *twin.Node
	By    string // door and session
	// Device says that the change came from the thing itself.
	Device    bool
	ExpiresIn time.Duration // of what it asks; 0: for ever
	Withdraw  *twin.Withdrawal
}

// Event is a step in the life of an intent.
type Event struct {
	Type     string // a [State], or [Answered]
	Version  twin.Version
	Severity twin.Severity
	Message  string
	Data     json.RawMessage
}

// Step returns what is open after a change, and what happened; the list itself if nothing did.
func (l *List) Step(m *Move) (*List, []Event) {
	s := stepper{Move: m, now: m.Change.Time}
	if l != nil {
		s.last = l.Last
		for i := range l.Open {
			s.follow(&l.Open[i])
		}
	}
	s.ask(l)
	if !m.Change.Current.Exists() && !l.Empty() {
		return &List{}, s.events // what came of it is in the log
	}
	if !s.moved {
		return l, nil
	}
	return &List{Open: s.open, Last: s.last}, s.events
}

type stepper struct {
	*Move
	now    twin.Time
	open   []Intent
	last   *Ended
	events []Event
	moved  bool
}

// sections returns desired and reported of a shadow.
func sections(s *twin.Shadow) (desired, reported *twin.Node) {
	if !s.Exists() {
		return nil, nil
	}
	return s.Desired, s.Reported
}

// follow finds what a change made of an open intent.
func (s *stepper) follow(i *Intent) {
	before, _ := sections(s.Change.Previous)
	desired, reported := sections(s.Change.Current)
	next := *i
	next.Open = nil
	var other *twin.Node // what is asked for instead of a path of it
	var refused Path
	for _, p := range i.Open {
		wish, asked := p.in(before), p.in(desired)
		switch {
		case wish != nil && wish.Equal(p.in(reported)):
			next.Applied = append(slices.Clone(next.Applied), p)
		case asked != nil && wish.Equal(asked):
			next.Open = append(next.Open, p)
		default:
			other, refused = asked, p
		}
	}
	if len(next.Open) == len(i.Open) {
		s.open = append(s.open, *i)
		return
	}
	s.moved = true
	if len(next.Open) > 0 {
		s.open = append(s.open, next)
		return
	}
	withdrawn := s.Withdraw != nil && s.Withdraw.Version == i.Version
	switch {
	case withdrawn && s.Withdraw.Expired:
		s.end(&next, Expired, s.Withdraw.Reason)
	case withdrawn:
		s.end(&next, Superseded, s.Withdraw.Reason)
	case s.Device && refused != nil && s.Change.Current.Exists():
		s.end(&next, Rejected, deviceSays(refused, other))
	case len(next.Applied) > 0:
		s.end(&next, Applied, "")
	default:
		s.end(&next, Superseded, s.instead(refused, other))
	}
}

// deviceSays is why a device that alters desired rejects.
func deviceSays(p Path, instead *twin.Node) string {
	if instead == nil {
		return "the device has taken desired." + p.String() + " away"
	}
	return "the device has set desired." + p.String() + " to " + shorten(string(instead.AppendJSON(nil)))
}

// instead is why something else is asked for.
func (s *stepper) instead(p Path, other *twin.Node) string {
	if !s.Change.Current.Exists() {
		return "the shadow was deleted"
	}
	if other == nil {
		return "desired." + p.String() + " was taken away" + by(s.By)
	}
	return "desired." + p.String() + " was set to " + shorten(string(other.AppendJSON(nil))) + by(s.By)
}

func by(who string) string {
	if who == "" {
		return ""
	}
	return " by " + who
}

const valueBytesMax = 80

// shorten cuts a long value.
func shorten(v string) string {
	if len(v) > valueBytesMax {
		return strings.ToValidUTF8(v[:valueBytesMax], "") + "…"
	}
	return v
}

// end closes an intent.
func (s *stepper) end(i *Intent, to State, reason string) {
	s.last = &Ended{Intent: *i, State: to, Time: s.now, Reason: reason}
	s.events = append(s.events, s.last.event())
}

func (e *Ended) event() Event {
	ev := Event{Type: string(e.State), Version: e.Version, Severity: twin.SeverityInfo, Data: e.data()}
	if e.State == Rejected || e.State == Expired {
		ev.Severity = twin.SeverityWarning
	}
	ev.Message = fmt.Sprintf("%s after %s", join(e.Paths), (time.Duration(e.Time-e.Asked) * time.Millisecond).String())
	if e.Reason != "" {
		ev.Message += ": " + e.Reason
	}
	return ev
}

// data is what an event says of an intent. Times are milliseconds since 1970.
func (e *Ended) data() json.RawMessage {
	b, err := json.Marshal(struct {
		*Intent
		Reason string `json:"reason,omitempty"`
	}{&e.Intent, e.Reason})
	if err != nil {
		panic(err) // an intent has nothing that is no JSON
	}
	return b
}

func join(paths []Path) string {
	const shown = 3
	var names []string
	for i, p := range paths {
		if i == shown {
			names = append(names, fmt.Sprintf("and %d more", len(paths)-shown))
			break
		}
		names = append(names, p.String())
	}
	return strings.Join(names, ", ")
}

// ask opens an intent for what a change asks for: leaves of desired that it has set, that
// reported does not say, and that are not asked for already.
func (s *stepper) ask(l *List) {
	if s.Delta == nil || s.Withdraw != nil || !s.Change.Current.Exists() {
		return
	}
	before, _ := sections(s.Change.Previous)
	desired := s.Change.Current.Desired
	touched := map[string]bool{}
	all := !s.Change.Request.Touches(func(section, name string) { touched[name] = touched[name] || section == "desired" })
	var open []Path
	walk(s.Delta, nil, func(p Path) {
		now, was := p.in(desired), p.in(before)
		same := was != nil && now.Equal(was)
		if now == nil || !all && !touched[p[0]] || same && (l.asks(p) || now.NewestStamp() != s.now.Seconds()) {
			return
		}
		open = append(open, slices.Clone(p))
	})
	if len(open) == 0 {
		return
	}
	s.moved = true
	i := Intent{Version: s.Change.Version, Asked: s.now, By: s.By, Paths: open, Open: open}
	if s.ExpiresIn > 0 {
		i.Expires = s.now + twin.Time(s.ExpiresIn.Milliseconds())
	}
	s.open = append(s.open, i)
}

// asks reports whether a path is open.
func (l *List) asks(p Path) bool {
	if l == nil {
		return false
	}
	return slices.ContainsFunc(l.Open, func(i Intent) bool {
		return slices.ContainsFunc(i.Open, func(q Path) bool { return slices.Equal(p, q) })
	})
}

// walk visits the leaves of a section: scalars, arrays and empty objects.
func walk(n *twin.Node, at Path, visit func(Path)) {
	for i := range n.Len() {
		kid := n.At(i)
		p := append(at, kid.Name())
		if kid.IsObject() && kid.Len() > 0 {
			walk(kid, p, visit)
			continue
		}
		visit(p)
	}
}

// Deliver notes that a client has taken a message with all that is asked up to a version; the
// list itself if that is known of all.
func (l *List) Deliver(v twin.Version, client string, sent int, now twin.Time) (*List, []Event) {
	if l == nil {
		return l, nil
	}
	next := &List{Open: slices.Clone(l.Open), Last: l.Last}
	var events []Event
	for i := range next.Open {
		x := &next.Open[i]
		if x.Version > v {
			continue
		}
		if x.Delivered != 0 { // it had it already
			x.Sent += sent
			continue
		}
		x.Delivered, x.Client, x.Sent = now, client, x.Sent+sent
		events = append(events, Event{
			Type: string(Delivered), Version: x.Version, Severity: twin.SeverityInfo, Data: (&Ended{Intent: *x}).data(),
			Message: fmt.Sprintf("%s to %s after %s", join(x.Open), client, time.Duration(now-x.Asked)*time.Millisecond),
		})
	}
	if events == nil {
		return l, nil
	}
	return next, events
}

// Reply notes what a device says of an intent. A rejected one ends; what it asked for stays in
// desired until somebody else asks otherwise. It is an error of kind NotFound if the intent is
// not open.
func (l *List) Reply(v twin.Version, a *Answer) (*List, []Event, error) {
	x := l.Find(v)
	if x == nil {
		return l, nil, twin.NewError(twin.KindNotFound, fmt.Sprintf("No intent v%d is open", v))
	}
	said := *x
	said.Answer = a
	if said.Delivered == 0 {
		said.Delivered = a.Time // who answers has it
	}
	next := &List{Last: l.Last}
	if a.Status != string(Rejected) {
		for i := range l.Open {
			if l.Open[i].Version == v {
				next.Open = append(next.Open, said)
				continue
			}
			next.Open = append(next.Open, l.Open[i])
		}
		ev := Event{Type: Answered, Version: v, Severity: twin.SeverityInfo, Message: a.Status, Data: (&Ended{Intent: said}).data()}
		if a.Message != "" {
			ev.Message += ": " + a.Message
		}
		return next, []Event{ev}, nil
	}
	for i := range l.Open {
		if l.Open[i].Version != v {
			next.Open = append(next.Open, l.Open[i])
		}
	}
	said.Open = nil
	next.Last = &Ended{Intent: said, State: Rejected, Time: a.Time, Reason: a.Message}
	return next, []Event{next.Last.event()}, nil
}

// Withdrawal is the request that takes an intent back: what is open of it is taken out of
// desired, with the objects that would be empty then.
func (i *Intent) Withdrawal(desired *twin.Node) []byte {
	patch, _ := takeOut(desired, i.Open)
	b, err := json.Marshal(map[string]any{"state": map[string]any{"desired": patch}})
	if err != nil {
		panic(err) // names and nulls are JSON
	}
	return b
}

// takeOut returns the merge patch that takes paths out of an object, and whether that leaves
// nothing of it.
func takeOut(n *twin.Node, paths []Path) (patch map[string]any, whole bool) {
	below := map[string][]Path{}
	gone := map[string]bool{}
	for _, p := range paths {
		if len(p) == 1 {
			gone[p[0]] = true
		} else {
			below[p[0]] = append(below[p[0]], p[1:])
		}
	}
	patch = map[string]any{}
	for name, rest := range below {
		inner, all := takeOut(n.Member(name), rest)
		gone[name] = gone[name] || all
		patch[name] = inner
	}
	for name := range gone {
		patch[name] = nil
	}
	return patch, len(gone) == n.Len()
}
