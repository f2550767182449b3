package rest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/intent"
	"github.com/twofold-iot/twofold/twin"
)

// Intents tell what is asked of things.
type Intents interface {
	// Intents returns what is asked by a shadow, nil if nothing ever was; not to be altered.
	Intents(key twin.ShadowKey) *intent.List
}

// intentList is what is asked of a thing by a shadow.
type intentList struct {
	DeviceID twin.ThingName   `json:"deviceId"`
	Shadow   twin.ShadowName  `json:"shadow,omitempty"`
	Open     []intentDocument `json:"open"`           // by version
	Last     *intentDocument  `json:"last,omitempty"` // that ended last; those before are events of kind intent
}

// intentDocument is what one update asked.
type intentDocument struct {
	ID        string        `json:"id"` // v and the version of the update
	State     string        `json:"state"`
	Asked     string        `json:"askedAt"`
	Age       float64       `json:"age"` // seconds, until it ended or now
	By        string        `json:"by,omitempty"`
	Expires   string        `json:"expiresAt,omitempty"`
	Paths     []string      `json:"paths"`             // of desired, all it asked for
	Open      []string      `json:"open,omitempty"`    // of these
	Applied   []string      `json:"applied,omitempty"` // of these
	Delivered string        `json:"deliveredAt,omitempty"`
	Client    string        `json:"client,omitempty"` // that took it
	Sent      int           `json:"sent"`             // deltas with it that a device has taken
	Answer    *intentAnswer `json:"answer,omitempty"` // the last of the device
	Ended     string        `json:"endedAt,omitempty"`
	Reason    string        `json:"reason,omitempty"`
}

type intentAnswer struct {
	Status  string `json:"status"`
	Message string `json:"message,omitempty"`
	At      string `json:"at"`
}

func newIntentDocument(i *intent.Intent, state intent.State, until twin.Time) intentDocument {
	doc := intentDocument{
		ID: i.ID(), State: string(state), Asked: timeText(i.Asked), Age: inSeconds(max(0, until-i.Asked)), By: i.By, Expires: timeText(i.Expires),
		Paths: []string{}, Delivered: timeText(i.Delivered), Client: i.Client, Sent: i.Sent,
	}
	doc.Paths, doc.Open, doc.Applied = append(doc.Paths, pathTexts(i.Paths)...), pathTexts(i.Open), pathTexts(i.Applied)
	if a := i.Answer; a != nil {
		doc.Answer = &intentAnswer{a.Status, a.Message, timeText(a.Time)}
	}
	return doc
}

func pathTexts(paths []intent.Path) []string {
	var list []string
	for _, p := range paths {
		list = append(list, p.String())
	}
	return list
}

func (d *door) intentRoutes() []route {
	return []route{
		{
			method: "GET", path: "/api/v1/twins/{id}/intents", name: "listIntents", summary: "Read what is asked of a thing and not done yet, and what came of the last that was",
			query: []string{"shadow"}, answer: intentList{}, handler: d.listIntents,
		}, {
			method: "DELETE", path: "/api/v1/twins/{id}/intents/{intent}", name: "withdrawIntent", summary: "Take back what is open of an intent: it is taken out of desired",
			query: []string{"shadow"}, answer: changed{}, handler: d.withdrawIntent,
		},
	}
}

func (d *door) listIntents(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	if exists, err := d.exists(r, key.Thing); err != nil || !exists {
		return orNoTwin(err, key.Thing)
	}
	doc := intentList{DeviceID: key.Thing, Shadow: key.Shadow, Open: []intentDocument{}}
	if l := d.opts.Intents.Intents(key); l != nil {
		now := twin.TimeOf(d.opts.Now())
		for i := range l.Open {
			doc.Open = append(doc.Open, newIntentDocument(&l.Open[i], l.Open[i].State(), now))
		}
		if e := l.Last; e != nil {
			last := newIntentDocument(&e.Intent, e.State, e.Time)
			last.Ended, last.Reason = timeText(e.Time), e.Reason
			doc.Last = &last
		}
	}
	return writeJSON(w, doc)
}

func (d *door) withdrawIntent(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	id := r.PathValue("intent")
	version, err := strconv.ParseUint(strings.TrimPrefix(id, "v"), 10, 63)
	if err != nil {
		return invalidf("%.40q is no intent: it is named by the version that asked, such as v12", id)
	}
	u := twin.Update{Key: key, Withdraw: &twin.Withdrawal{Version: twin.Version(version), Reason: "withdrawn by " + caller(r)}}
	return d.change(w, r, u, nil, false)
}

// expiresInMax is the longest that something can be asked for with an end.
const expiresInMax = 10 * 365 * 24 * time.Hour

// expiresIn reads how long something is asked for; 0: for ever.
func (p *params) expiresIn() time.Duration {
	text := p.text("expiresIn")
	if text == "" {
		return 0
	}
	d, err := parseExpiry(text)
	if err != nil {
		p.bad("expiresIn", "expiresIn: %v", err)
	}
	return d
}

func parseExpiry(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Millisecond || d > expiresInMax {
		return 0, fmt.Errorf("%.40q is no duration such as 90s or 24h, up to ten years", text)
	}
	return d, nil
}
