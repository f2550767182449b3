package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/twofold-iot/twofold/internal/clock"
	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/job"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// jobs are the service and its door over MQTT.
type jobs struct {
	*job.Service
	aws *awsiot.JobDoor

	stop context.CancelFunc
	done chan struct{}
}

// openJobs reads the jobs and runs the service.
func openJobs(log *slog.Logger, e *engine.Engine, r store.Reader, clk *clock.Clock) (*jobs, error) {
	s, err := job.Open(log, e, job.Options{Now: clk.Now, Speed: clk.Speed(), Known: knownThings{r}.missing})
	if err != nil {
		return nil, fmt.Errorf("open jobs: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	j := &jobs{Service: s, aws: awsiot.NewJobs(s, e, e.Now), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(j.done)
		s.Run(ctx)
	}()
	return j, nil
}

// connect lets devices be told of jobs by the broker.
func (j *jobs) connect(b *mqtt.Broker) {
	j.aws.Connect(b)
	j.Connect(j.aws)
}

// close ends the service; the engine has to work until it returns.
func (j *jobs) close() {
	j.stop()
	<-j.done
}

// knownThings says of which things there is a twin.
type knownThings struct{ store.Reader }

// knownPage is how many heads are read at once.
const knownPage = 1000

func (k knownThings) missing(ctx context.Context, things []twin.ThingName) ([]twin.ThingName, error) {
	var missing []twin.ThingName
	for len(things) > 0 {
		part := things[:min(len(things), knownPage)]
		things = things[len(part):]
		heads, err := k.Heads(ctx, part)
		if err != nil {
			return nil, fmt.Errorf("read heads: %w", err)
		}
		for i, h := range heads {
			if h.Seq == 0 {
				missing = append(missing, part[i])
			}
		}
	}
	return missing, nil
}

// expand fills in the placeholders in the document of a new job. url is the address of
// this server as devices reach it; empty: that of the request.
func (j *jobs) expand(url string) func(*http.Request, *twin.JobRequest) error {
	return func(r *http.Request, q *twin.JobRequest) error {
		base := url
		if base == "" {
			base = "http://" + r.Host
			if r.TLS != nil {
				base = "https://" + r.Host
			}
		}
		return j.Expand(q, strings.TrimSuffix(base, "/"))
	}
}
