package rest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"time"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/profile"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

// Engine is the write path and the durable reads this door needs.
type Engine interface {
	Submit(u twin.Update, done func(twin.Result)) error
	Shadow(ctx context.Context, key twin.ShadowKey) (*twin.Shadow, error)
	Things(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error)
	ShadowNames(ctx context.Context, thing twin.ThingName, after twin.ShadowName, limit int) ([]twin.ShadowName, error)
}

// Twins is what an administrator or an application says of a twin, beside its shadows.
type Twins interface {
	// Append adds an entry to the log of a thing; see [twin.Entry]. It behaves as
	// [Engine].Submit does.
	Append(en twin.Entry, done func(twin.EntryResult)) error
	// Attributes returns the durable attributes of a thing, never nil and not to be altered.
	Attributes(thing twin.ThingName) *twin.Attributes
	// Managed lists things that have attributes, by name, greater than after; of one model
	// if that is not empty.
	Managed(ctx context.Context, model string, after twin.ThingName, limit int) ([]twin.ThingName, error)
	// DeleteTwin deletes all shadows of a thing and its attributes; the past stays.
	DeleteTwin(ctx context.Context, thing twin.ThingName, o twin.Origin) error
}

// Options tune the door; the zero value works.
type Options struct {
	Limits       twin.Limits   // of shadows, those of the engine
	BodyBytesMax int64         // longest request body; 65536
	NewID        func() string // makes a request id; 26 random letters and digits
	Feed         Feed          // nil: there is no stream
	// Past reads what was; nil: there is neither history nor event log.
	Past *history.Reader
	// Twins changes what is no part of a shadow; nil: that cannot be changed.
	Twins Twins
	// Connected reports whether a client that stands for a thing is connected now; nil:
	// none is.
	Connected  func(twin.ThingName) bool
	Now        func() time.Time  // the clock; time.Now
	Backup     Backup            // nil: there is none
	Storage    Storage           // nil: it is not told
	Mirror     Mirror            // takes documents of shadows in the cloud; nil: none are taken
	Telemetry  Telemetry         // takes samples; nil: none are taken
	Samples    *telemetry.Reader // reads samples back; nil: they cannot be read
	Commands   Commands          // nil: there are none
	Jobs       Jobs              // nil: there are none
	Artifacts  Artifacts         // nil: there are none
	Webhooks   Webhooks          // nil: there are none
	Models     Models            // nil: there are none
	Alarms     Alarms            // nil: there are none
	Computed   Computed          // computed attributes of twins; nil: there are none
	Behaviours Behaviours        // what twins do; nil: it is not told
	Learner    *profile.Learner  // what their past says by itself; needed with Behaviours
	Fleet      Fleet             // queries over all twins; nil: there are none
	Groups     Groups            // live groups; nil: there are none
	Intents    Intents           // what is asked of things; nil: it is not told
	// Predictions say how unusual measurements are and when things fail; nil: that is not told.
	Predictions Predictions
	// PublicURL is the address of the server as its clients reach it; empty: that of the request.
	PublicURL string
	// Expand fills in what the document of a new job names by placeholders; nil: nothing is.
	Expand func(*http.Request, *twin.JobRequest) error
	// TelemetryRules say which samples are taken.
	TelemetryRules twin.TelemetryRules
	// Admit refuses samples that the models of their things do not allow; nil: all are taken.
	Admit func(rows []twin.Row) error
	// LastSeen returns the time of the newest sample of a thing, zero if none is known; nil:
	// none is.
	LastSeen func(twin.ThingName) twin.Time
	// Confirm opens the addresses by which AWS is told that this server takes what its rules
	// send; nil: they are only logged and listed.
	Confirm *http.Client
}

// Limits of this door.
const (
	bodyBytesDefault       = 64 << 10
	pageDefault            = 100
	pageMax                = 1000
	idempotencyKeyBytesMax = 128
)

type door struct {
	log    *slog.Logger
	engine Engine
	opts   Options

	confirmations confirmations
}

// New returns the handler of /api/v1/, /twins/{id} and /problems/.
func New(log *slog.Logger, e Engine, opts Options) http.Handler {
	if opts.BodyBytesMax == 0 {
		opts.BodyBytesMax = bodyBytesDefault
	}
	if opts.NewID == nil {
		opts.NewID = rand.Text
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	d := &door{log: log, engine: e, opts: opts}
	mux := http.NewServeMux()
	d.register(mux)
	return mux
}

// handler answers a request or returns why not.
type handler func(w http.ResponseWriter, r *http.Request) error

// wrap gives a request its id and writes the error, if there is one. Only here are
// errors of the server logged.
func (d *door) wrap(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := d.opts.NewID()
		w.Header().Set("X-Request-Id", id)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-cache") // may be kept, must be revalidated: RFC 9111 5.2.2.4
		err := h(w, r)
		if err == nil {
			return
		}
		p := problemOf(err)
		if p.Status == http.StatusInternalServerError {
			d.log.LogAttrs(r.Context(), slog.LevelError, "request ended in an internal error",
				slog.String("request_id", id), slog.String("method", r.Method),
				slog.String("path", r.URL.EscapedPath()), slog.String("error", err.Error()))
		}
		p.Instance, p.RequestID = r.URL.EscapedPath(), id
		p.write(w)
	})
}

func methodNotAllowed(allow string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Allow", allow)
		return &problem{slug: slugMethod, Detail: r.Method + " is not served here; allowed: " + allow}
	}
}

func noRoute(_ http.ResponseWriter, r *http.Request) error {
	return &problem{slug: slugRoute, Detail: "nothing is served at " + r.URL.EscapedPath()}
}
