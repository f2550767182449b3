package client

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// HoursOfWeek is how many entries the lists of a [WeekProfile] have; the first is that of
// Monday from midnight on.
const HoursOfWeek = 7 * 24

// Profile is what the numbers of a thing were like at each hour of the week.
type Profile struct {
	DeviceID twin.ThingName
	From, To time.Time
	Zone     string
	Complete bool // false: of the newest events, or some of the numbers
	Profiles []WeekProfile
	Raw      json.RawMessage `json:"-"`
}

// WeekProfile has an entry for each hour of the week in each list; nil: there was no number.
type WeekProfile struct {
	Of, Unit                     string
	Samples                      int
	Weeks, Count                 []int
	Mean, Min, P5, P50, P95, Max []*float64
}

// ProfileQuery selects numbers of a thing and a window; what is not set is left to the server.
type ProfileQuery struct {
	Thing    twin.ThingName
	Of       []string // such as reported.temperature or telemetry.flow; none: all
	Zone     string   // such as Europe/Berlin; empty: UTC
	From, To time.Time
}

// Profile reads what numbers of a thing were like at each hour of the week.
func (c *Client) Profile(ctx context.Context, q ProfileQuery) (*Profile, error) {
	v := url.Values{}
	for _, name := range q.Of {
		v.Add("of", name)
	}
	if q.Zone != "" {
		v.Set("zone", q.Zone)
	}
	setTime(v, "from", q.From)
	setTime(v, "to", q.To)
	p := &Profile{}
	return p, c.getRaw(ctx, twinPath(q.Thing, "/profile", "")+"?"+v.Encode(), p, &p.Raw)
}
