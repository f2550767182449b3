package engine

import (
	"hash/maphash"
	"strconv"

	"github.com/twofold-iot/twofold/twin"
)

// An echo loop: desired holds something that the device never reports, so that each of its
// reports brings the same delta again, and firmware that answers each delta with a
// report never ends. AWS sends these deltas, and so does Twofold; but the log of the twin
// says what goes on.

// echoesMax is how often in a row a device brings the same delta by its own reports before
// that is noted.
const echoesMax = 3

// echo is what is known of a shadow's deltas. It is not kept on disk: after a restart
// the counting begins anew.
type echo struct {
	delta uint64 // hash of the last one
	times int
}

var echoSeed = maphash.MakeSeed() //nolint:gochecknoglobals // read only

// listen counts how often a device's own reports have left the same delta, and notes it in
// the log once for each delta.
func (c *committer) listen(j *job, s *shadow, change *twin.Change) {
	if change.Kind != twin.EventUpdated || j.update.Origin.Door != twin.DoorMQTT {
		s.echo = echo{}
		return
	}
	reports, asks := false, false
	change.Request.Touches(func(section, _ string) {
		reports, asks = reports || section == "reported", asks || section == "desired"
	})
	if asks || !reports || !change.HasDelta() {
		s.echo = echo{}
		return
	}
	delta := change.Current.Delta()
	if m, _ := c.modelOf(j.thing); m != nil && j.update.Key.Shadow == "" {
		if delta = m.Drift(change.Current); delta == nil {
			s.echo = echo{}
			return
		}
	}
	c.scratch = delta.AppendJSON(c.scratch[:0])
	hash := maphash.Bytes(echoSeed, c.scratch)
	if s.echo.delta != hash {
		s.echo = echo{delta: hash}
	}
	if s.echo.times++; s.echo.times != echoesMax {
		return
	}
	ev := twin.Event{
		Thing: j.update.Key.Thing, Shadow: j.update.Key.Shadow, Kind: twin.EventReported, Origin: j.update.Origin,
		Type: "echo-loop", Severity: twin.SeverityWarning,
		Message: cut("the same delta came " + strconv.Itoa(echoesMax) + " times after reports of the device: it does not report " +
			memberNames(delta) + " as desired; firmware that answers each delta with a report never ends"),
	}
	ev.Origin.PacketID = 0
	j.note = &ev
}

func memberNames(n *twin.Node) string {
	const shown = 5
	text := ""
	for i := range n.Len() {
		if i == shown {
			return text + " and " + strconv.Itoa(n.Len()-shown) + " more"
		}
		if i > 0 {
			text += ", "
		}
		text += n.At(i).Name()
	}
	return text
}
