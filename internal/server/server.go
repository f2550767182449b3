package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"github.com/twofold-iot/twofold/internal/bridge"
	"github.com/twofold-iot/twofold/internal/clock"
	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/internal/door/device"
	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/internal/group"
	"github.com/twofold-iot/twofold/internal/models"
	"github.com/twofold-iot/twofold/internal/predict"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/internal/webhook"
	"github.com/twofold-iot/twofold/twin"
)

// Limits that are no settings.
const (
	httpConnsMax     = 1 << 14
	httpReadTimeout  = 30 * time.Second // of a whole request, a slow body included
	httpWriteTimeout = time.Minute
	stopGrace        = 2 * time.Second // for what is forced after a graceful stop ran out of time
)

// FaultError is a server that stopped because its store failed: nothing more was
// acknowledged, and a restart recovers what was.
type FaultError struct{ Err error }

// Error says what failed.
func (e *FaultError) Error() string { return e.Err.Error() }

// Unwrap returns the fault of the store.
func (e *FaultError) Unwrap() error { return e.Err }

// Server is all parts of a running Twofold.
type Server struct {
	log    *slog.Logger
	config Config
	clock  *clock.Clock // nil: that of the machine

	store  *pebblestore.Store
	aws    *awsiot.Door
	engine *engine.Engine
	models *models.Registry
	beside *models.Beside
	// stopBeside ends the reading of last values for models; besides waits for that.
	stopBeside context.CancelFunc
	besides    sync.WaitGroup
	index      *fleet.Index
	fleet      *fleet.Engine
	// stopIndex ends the bringing of changes into the index; indexing waits for that.
	stopIndex context.CancelFunc
	indexing  sync.WaitGroup
	broker    *mqtt.Broker
	things    *device.Tracker

	commands *commands
	jobs     *jobs

	webhooks *webhook.Service // nil: not open
	bridge   *bridge.Bridge   // nil: there is none

	telemetry *telemetry.Telemetry
	heard     *device.Heard // telemetry on its way from the doors
	// stopNoting ends the writing of connection events; noting waits for that.
	stopNoting context.CancelFunc
	noting     sync.WaitGroup
	feed       *feed.Hub
	// stopFeed ends the feed and so all streams; following waits for that.
	stopFeed  context.CancelFunc
	following sync.WaitGroup
	groups    map[string]store.Group // retention groups of models
	live      *group.Service         // live groups
	// stopLive ends the watching of live groups; watching waits for that.
	stopLive context.CancelFunc
	watching sync.WaitGroup
	// stopActions ends the sending of what behaviours ask for; acting waits for that.
	stopActions context.CancelFunc
	acting      sync.WaitGroup
	predict     atomic.Pointer[predict.Service] // nil: not open
	// stopPredict ends the watching of measurements; predicting waits for that.
	stopPredict context.CancelFunc
	predicting  sync.WaitGroup
	// stopRetention ends the expiry of history; retaining waits for that.
	stopRetention context.CancelFunc
	retaining     sync.WaitGroup

	sockets []*socket
	https   []*http.Server
	health  *health

	closing sync.Once
	closed  error
}

// Open makes a server: its store is open and its addresses are bound, but nothing
// is served before [Server.Run]. After an error nothing is left open.
func Open(c Config, log *slog.Logger) (*Server, error) { return OpenIn(World{}, c, log) }

func open(w World, c Config, log *slog.Logger, stored pebblestore.Options) (s *Server, err error) {
	s = &Server{log: log, config: c, clock: w.Clock}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	// Addresses are bound first, though nothing is served yet: a port that is taken
	// stops the server before it has touched the disk.
	if s.sockets, err = listen(&c); err != nil {
		return s, err
	}
	if err = s.openData(stored); err != nil {
		return s, err
	}
	// The engine stages what the AWS door makes of a change, the broker hands the
	// door its publishes, and the door answers by way of both: so it is made first
	// and connected last.
	if s.aws, err = awsiot.New(log, awsiot.Options{InFlightMax: c.Shadow.InFlightMax}); err != nil {
		return s, err
	}
	limits := twin.Limits{DocumentBytesMax: c.Shadow.DocumentBytesMax, DepthMax: c.Shadow.DepthMax}
	if err = s.openEngine(limits); err != nil {
		return s, err
	}
	s.startRetention()
	s.heard = device.NewHeard(log, s.engine, listening{s.telemetry, s})
	measured, err := deviceOptions(&c.Telemetry, s.heard)
	if err != nil {
		return s, err
	}
	measured.Admit, measured.Now = s.models.AdmitRows, s.clock.Now
	s.things = device.NewTracker(log, s.engine, s.clock.Now, measured.Patterns...)
	s.openModels()
	noting, stopNoting := context.WithCancel(context.Background())
	s.stopNoting = stopNoting
	s.noting.Go(func() { s.things.Run(noting) })
	if s.commands, err = openCommands(log, s.engine, s.clock); err != nil {
		return s, err
	}
	if s.jobs, err = openJobs(log, s.engine, s.store, s.clock); err != nil {
		return s, err
	}
	if s.broker, err = mqtt.Open(log, mqtt.Options{
		Handler: topics{s.aws, device.New(log, s.engine, measured), s.commands, s.jobs.aws, device.NewIntents(s.engine, s.engine)}, Presence: presence{s.things, s.commands},
		Taken: s.taken, Records: s.engine, ConnsMax: c.MQTT.ConnsMax, SessionsMax: c.MQTT.SessionsMax,
		SessionExpiryMax: c.MQTT.SessionExpiryMax, QueueLenMax: c.MQTT.QueueLenMax,
	}); err != nil {
		return s, fmt.Errorf("open mqtt door: %w", err)
	}
	s.aws.Connect(s.engine, s.broker, retained{s.broker})
	s.commands.connect(log, s.broker, s.clock)
	s.jobs.connect(s.broker)
	s.aws.ConnectFleet(s.fleet, registry{s.engine, s})
	s.aws.ConnectJobs(s.jobs.Service, s.jobs.expand(c.HTTP.PublicURL))
	if err = s.openOthers(); err != nil {
		return s, err
	}
	s.health = &health{store: s.store, version: Version()}
	handler, err := s.handler(limits)
	if err != nil {
		return s, err
	}
	for _, l := range s.sockets {
		if l.at.overHTTP() {
			s.https = append(s.https, s.newHTTPServer(handler, l))
		}
	}
	return s, nil
}

// openEngine opens the write path with the models in force, and the index of all twins.
func (s *Server) openEngine(limits twin.Limits) (err error) {
	c := &s.config
	if err = s.newFleet(); err != nil {
		return err
	}
	s.engine, err = engine.Open(s.log, s.store, engine.Options{
		Limits: limits, QueueLenMax: c.Engine.QueueLenMax, CacheBytesMax: c.Engine.CacheBytesMax,
		Now: s.clock.Now, Speed: s.clock.Speed(), Publisher: s.aws, Committed: s.feed.Wake, Groups: s.groups, Models: s.models, Beside: s.fillBeside, Settled: s.settled, Intents: true,
	})
	if err != nil {
		return fmt.Errorf("open engine: %w", err)
	}
	if err = s.models.Load(context.Background(), s.engine); err != nil {
		return err
	}
	// Before the index tells of what changes.
	if s.live, err = group.Open(context.Background(), s.log, s.engine, s.fleet, s.clock.Speed()); err != nil {
		return err
	}
	return s.loadFleet(context.Background())
}

// stopReading ends what goes by what has become durable.
func (s *Server) stopReading() {
	if s.stopPredict != nil {
		s.stopPredict() // what it has learned is written before the engine ends
		s.predicting.Wait()
	}
	if s.stopLive != nil {
		s.stopLive()
		s.watching.Wait()
	}
	if s.stopIndex != nil {
		s.stopIndex()
		s.indexing.Wait()
	}
	if s.stopBeside != nil {
		s.stopBeside()
		s.besides.Wait()
	}
}

// openOthers opens what speaks to other systems, and what goes by what has happened.
func (s *Server) openOthers() (err error) {
	c := &s.config
	if s.webhooks, err = openWebhooks(s.log, s.clock.Now, s.engine, s.feed, feedLog{s.store}, &c.Webhooks); err != nil {
		return err
	}
	if c.Bridge.URL != "" {
		if s.bridge, err = openBridge(s.log, s.broker, &c.Bridge); err != nil {
			return err
		}
	}
	s.runGroups()
	if err := s.openPredict(); err != nil {
		return err
	}
	return s.runActions()
}

// openData opens what keeps the data, and the feed of it.
func (s *Server) openData(stored pebblestore.Options) (err error) {
	if s.store, err = pebblestore.Open(s.config.Data, stored); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	s.startFeed()
	if err := s.openGroups(); err != nil {
		return err
	}
	if s.models, err = models.NewRegistry(); err != nil {
		return err
	}
	if s.telemetry, err = telemetry.Open(s.log, s.store, telemetry.Options{Now: s.clock.Now}); err != nil {
		return fmt.Errorf("open telemetry: %w", err)
	}
	return nil
}

// Addresses lists what is open, with the ports as picked.
func (s *Server) Addresses() []Address {
	var as []Address
	for _, l := range s.sockets {
		as = append(as, l.at)
	}
	return as
}

// Run serves until ctx ends, then stops gracefully and returns nil. It returns
// earlier, with a [FaultError], when the store fails. The server is closed then
// and cannot run again.
func (s *Server) Run(ctx context.Context) error {
	failed := make(chan error, len(s.sockets))
	var serving sync.WaitGroup
	next := 0
	for _, l := range s.sockets {
		serve := func() error { return s.broker.Serve(l.forMQTT()) }
		if l.at.overHTTP() {
			srv := s.https[next]
			next++
			serve = func() error { return serveHTTP(srv, l) }
		}
		serving.Go(func() {
			if err := serve(); err != nil {
				failed <- fmt.Errorf("serve %s: %w", l.at.URL(), err)
			}
		})
	}
	var cause error
	select {
	case <-ctx.Done():
		s.log.Info("stopping")
	case <-s.store.Fenced():
		cause = &FaultError{s.store.Fault()}
	case cause = <-failed:
	}
	err := s.Close()
	serving.Wait()
	if cause != nil {
		return cause // what fails on the way down is a consequence
	}
	return err
}

// Close stops what runs, in the order in which requests flow, so that each part
// can still answer by way of the parts after it: HTTP requests, AWS door, MQTT
// sessions, engine, store. It takes no longer than the setting stop_timeout and a
// moment; what is acknowledged is durable even if it is cut short. It may be
// called twice.
func (s *Server) Close() error {
	s.closing.Do(func() {
		done := make(chan error, 1)
		ctx, cancel := context.WithTimeout(context.Background(), s.config.StopTime)
		defer cancel()
		go func() { done <- s.takeDown(ctx) }()
		limit := time.NewTimer(s.config.StopTime + stopGrace)
		defer limit.Stop()
		select {
		case s.closed = <-done:
		case <-limit.C:
			s.closed = fmt.Errorf("stop took longer than %s and was cut short; everything acknowledged is on disk", s.config.StopTime)
		}
	})
	return s.closed
}

func (s *Server) takeDown(ctx context.Context) error {
	var errs []error
	if s.health != nil {
		s.health.stopping.Store(true)
	}
	for _, l := range s.sockets {
		if !l.at.overHTTP() {
			_ = l.Close() // no new devices; those connected stay until the broker closes
		}
	}
	if s.bridge != nil {
		s.bridge.Close()
	}
	if s.webhooks != nil {
		s.webhooks.Close() // what is on its way is sent again after the next start
	}
	if s.stopActions != nil {
		s.stopActions() // what is not sent yet is sent after the next start
		s.acting.Wait()
	}
	if s.stopFeed != nil {
		s.stopFeed() // streams have no end of their own
		s.following.Wait()
	}
	if s.stopRetention != nil {
		s.stopRetention()
		s.retaining.Wait()
	}
	if s.commands != nil {
		s.commands.EndWaits() // nor has what they wait for
	}
	// Half of the time is for requests in flight, the rest for what comes after.
	ctx, cancel := context.WithTimeout(ctx, s.config.StopTime/2)
	defer cancel()
	var stopping sync.WaitGroup
	for _, srv := range s.https {
		stopping.Go(func() {
			if srv.Shutdown(ctx) != nil { // requests that outlast the grace period are cut
				_ = srv.Close()
			}
		})
	}
	stopping.Wait()
	closeSockets(s.sockets) // also those that were never served
	if s.aws != nil {
		s.aws.Close()
	}
	if s.broker != nil {
		errs = append(errs, s.broker.Close())
	}
	if s.commands != nil {
		s.commands.close()
	}
	if s.jobs != nil {
		s.jobs.close()
	}
	if s.stopNoting != nil {
		s.stopNoting() // that the devices have gone is noted before the engine ends
		s.noting.Wait()
	}
	s.stopReading()
	if s.engine != nil {
		errs = append(errs, s.engine.Close())
	}
	if s.telemetry != nil {
		errs = append(errs, s.telemetry.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// startFeed makes the feed follow the log.
func (s *Server) startFeed() {
	s.feed = feed.NewHub(feedLog{s.store}, feed.Options{})
	ctx, stop := context.WithCancel(context.Background())
	s.stopFeed = stop
	s.following.Go(func() {
		if err := s.feed.Run(ctx); err != nil {
			s.log.Error("feed has ended", slog.String("error", err.Error()))
		}
	})
}

func (s *Server) newHTTPServer(h http.Handler, l *socket) *http.Server {
	return &http.Server{
		Handler:           h,
		TLSConfig:         l.config,
		ReadHeaderTimeout: s.config.HTTP.HeaderTimeout,
		ReadTimeout:       httpReadTimeout,
		WriteTimeout:      httpWriteTimeout,
		IdleTimeout:       s.config.HTTP.IdleTimeout,
		MaxHeaderBytes:    s.config.HTTP.HeaderBytesMax,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

func serveHTTP(srv *http.Server, l *socket) (err error) {
	limited := netutil.LimitListener(l, httpConnsMax)
	if l.at.TLS {
		err = srv.ServeTLS(limited, "", "")
	} else {
		err = srv.Serve(limited)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
