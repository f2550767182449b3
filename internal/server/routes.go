package server

import (
	"net/http"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/models"
	"github.com/twofold-iot/twofold/internal/profile"
	"github.com/twofold-iot/twofold/twin"
)

// bodyRoom is how much longer than a shadow may be a REST request may be: a patch
// can be longer than what it makes, with spaces, nulls and escapes.
const bodyRoom = 64 << 10

// handler splits requests between the doors. It is a switch and no ServeMux,
// because a mux cleans paths and decodes %2F, which is part of a topic in the AWS
// data plane.
func (s *Server) handler(limits twin.Limits) (http.Handler, error) {
	aws := s.aws.Handler()
	managed := twins{s.engine}
	var confirm *http.Client
	if s.config.Ingest.ConfirmDestinations {
		confirm = &http.Client{}
	}
	past := history.New(s.store, managed)
	viewer := &models.Viewer{
		Registry: s.models, Samples: s.telemetry.Reader(), History: past, Connected: s.things.Connected, LastSeen: s.lastSeen, Now: s.engine.Now,
	}
	api := rest.New(s.log, s.engine, rest.Options{
		Now: s.clock.Now, Limits: limits, BodyBytesMax: int64(bodyRoom + limits.DocumentBytesMax),
		Feed: restFeed{s.feed, feedLog{s.store}}, Past: past, Twins: managed,
		Backup: s.backup, Storage: s.storage, Connected: s.things.Connected, Mirror: s.engine, Confirm: confirm,
		Commands:    restCommands{s.commands.Service},
		Jobs:        s.jobs.Service,
		Artifacts:   s.jobs.Service,
		Expand:      s.jobs.expand(s.config.HTTP.PublicURL),
		PublicURL:   s.config.HTTP.PublicURL,
		Webhooks:    s.webhooks,
		Models:      s.models,
		Alarms:      s.models,
		Fleet:       s.fleet,
		Groups:      s.live,
		Intents:     s.engine,
		Predictions: s.predictions(),
		Computed:    viewer,
		Behaviours:  viewer,
		Learner:     &profile.Learner{History: past, Samples: s.telemetry.Reader()},
		Samples:     s.telemetry.Reader(),
		Telemetry:   s.heard, LastSeen: s.lastSeen, TelemetryRules: telemetryRules(&s.config.Telemetry), Admit: s.models.AdmitRows,
	})
	return newGuard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case awsiot.Serves(r):
			aws.ServeHTTP(w, r)
		case r.URL.Path == "/mqtt":
			// The guard has judged the origin, with what http.origins allows; the door
			// would only know its own host.
			r.Header.Del("Origin")
			s.broker.ServeHTTP(w, r)
		case r.URL.Path == "/healthz":
			s.health.alive(w, r)
		case r.URL.Path == "/readyz":
			s.health.ready(w, r)
		default:
			api.ServeHTTP(w, r)
		}
	}), &s.config.HTTP)
}

// retained shows the broker's retained messages to the AWS door. No door knows
// another, so each has its own word for them.
type retained struct{ broker *mqtt.Broker }

func (r retained) Retained(topic string) (awsiot.RetainedMessage, bool) {
	m, ok := r.broker.Retained(topic)
	return awsiot.RetainedMessage(m), ok
}

func (r retained) ListRetained(after string, limit int) []awsiot.RetainedMessage {
	page := r.broker.ListRetained(after, limit)
	ms := make([]awsiot.RetainedMessage, len(page))
	for i, m := range page {
		ms[i] = awsiot.RetainedMessage(m)
	}
	return ms
}
