package webhook

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/twin"
)

// Engine writes and reads records.
type Engine interface {
	WriteRecords(orderKey string, ws []twin.RecordWrite, done func(error)) error
	Records(ctx context.Context, kind twin.RecordKind, prefix, after string, limit int) ([]twin.Record, error)
}

// Feed is where events come from.
type Feed interface {
	Subscribe(ctx context.Context, after feed.Cursor, f feed.Filter) (*feed.Reader, error)
	Head(ctx context.Context) (feed.Cursor, error)
}

// Options tune a Service; the zero value works but for Now, Encode and Guard.
type Options struct {
	Enabled bool // false: webhooks are kept, and nothing is sent
	Now     func() time.Time
	// Encode returns an event with its position as it is sent: a JSON object.
	Encode func(at feed.Cursor, ev *twin.Event) ([]byte, error)
	Guard  *Guard
	Roots  *x509.CertPool // that sign certificates of receivers; nil: those of the system
	// Wait returns after a time, or with the error of ctx; a timer.
	Wait func(ctx context.Context, d time.Duration) error
	// Jitter returns a number from 0 up to 1; nil: 1, there is none.
	Jitter     func() float64
	HooksMax   int           // 100
	TriesMax   int           // tries before a batch becomes a dead letter; 15
	DeadMax    int           // dead letters of one webhook; 1,000
	Timeout    time.Duration // of one try; 10 s
	BackoffMin time.Duration // after the first failure, twice that after the next …; 1 s
	BackoffMax time.Duration // 10 min
	BodyMax    int           // bytes of a batch, unless one event alone is longer; 256 KiB
	KeepEvery  time.Duration // how often the place of a webhook is kept to which nothing goes; 30 s
}

func (o Options) withDefaults() (Options, error) {
	if o.Now == nil || o.Encode == nil || o.Guard == nil {
		return o, errors.New("webhook options: Now, Encode or Guard is not set")
	}
	if o.Wait == nil {
		o.Wait = wait
	}
	if o.Jitter == nil {
		o.Jitter = func() float64 { return 1 }
	}
	setDefault(&o.HooksMax, 100)
	setDefault(&o.TriesMax, 15)
	setDefault(&o.DeadMax, 1000)
	setDefault(&o.Timeout, 10*time.Second)
	setDefault(&o.BackoffMin, time.Second)
	setDefault(&o.BackoffMax, 10*time.Minute)
	setDefault(&o.BodyMax, 256<<10)
	setDefault(&o.KeepEvery, 30*time.Second)
	return o, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Service keeps webhooks and delivers to them. Make one with [Open].
type Service struct {
	log    *slog.Logger
	engine Engine
	feed   Feed
	opts   Options
	sender *sender

	// ops holds a token while somebody makes, removes or retries something.
	ops  chan struct{}
	stop context.CancelFunc
	ctx  func() context.Context // of the goroutines, ended by stop
	runs sync.WaitGroup

	mu     sync.Mutex
	hooks  map[twin.WebhookName]*hook
	closed bool
}

// Open makes a service, reads the webhooks and begins to deliver. The engine and the feed
// have to work until [Service.Close] returns.
func Open(log *slog.Logger, e Engine, f Feed, opts Options) (*Service, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Service{
		log: log, engine: e, feed: f, opts: opts, stop: stop, ctx: func() context.Context { return ctx },
		sender: newSender(opts.Guard, opts.Roots, opts.Now, opts.Timeout),
		ops:    make(chan struct{}, 1), hooks: map[twin.WebhookName]*hook{},
	}
	if err := s.load(ctx); err != nil {
		stop()
		return nil, fmt.Errorf("read webhooks: %w", err)
	}
	for _, h := range s.hooks {
		s.start(h)
	}
	return s, nil
}

const loadPage = 1000

func (s *Service) load(ctx context.Context) error {
	err := s.scan(ctx, twin.RecordWebhook, "", func(r *twin.Record) error {
		if name, ok := strings.CutSuffix(r.Key, "\x00"); ok {
			h := s.hooks[twin.WebhookName(name)]
			if h == nil {
				return errors.New("a place without its webhook")
			}
			return decodeRecord(r.Value, &h.place)
		}
		h := newHook(s)
		if err := decodeRecord(r.Value, &h.definition); err != nil {
			return err
		}
		s.hooks[h.Name] = h
		return nil
	})
	if err != nil {
		return err
	}
	return s.scan(ctx, twin.RecordDeadLetter, "", func(r *twin.Record) error {
		name, _, _ := strings.Cut(r.Key, "\x00")
		if h := s.hooks[twin.WebhookName(name)]; h != nil {
			h.dead++
		}
		return nil
	})
}

// scan calls f for each record whose key begins so.
func (s *Service) scan(ctx context.Context, kind twin.RecordKind, prefix string, f func(*twin.Record) error) error {
	for after := ""; ; {
		page, err := s.engine.Records(ctx, kind, prefix, after, loadPage)
		if err != nil {
			return err
		}
		for i := range page {
			if err := f(&page[i]); err != nil {
				return fmt.Errorf("record %q: %w", page[i].Key, err)
			}
			after = page[i].Key
		}
		if len(page) < loadPage {
			return nil
		}
	}
}

// start begins to deliver.
func (s *Service) start(h *hook) {
	if !s.opts.Enabled {
		close(h.done)
		return
	}
	ctx, stop := context.WithCancel(s.ctx())
	h.stop = stop
	s.runs.Go(func() {
		defer close(h.done)
		h.run(ctx)
	})
}

// Close stops delivery and waits for it. It may be called twice.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.runs.Wait()
	s.sender.close()
}

var errStopping = twin.NewError(twin.KindUnavailable, "The server is stopping")

// enter takes the token of those who change something.
func (s *Service) enter(ctx context.Context) (leave func(), err error) {
	select {
	case s.ops <- struct{}{}:
	case <-ctx.Done():
		return nil, &twin.Error{Kind: twin.KindUnavailable, Message: "Another change of webhooks takes too long", Err: ctx.Err()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		<-s.ops
		return nil, errStopping
	}
	return func() { <-s.ops }, nil
}

// write makes records durable. It waits for the outcome, also when the server stops.
func (s *Service) write(name twin.WebhookName, ws ...twin.RecordWrite) error {
	done := make(chan error, 1)
	if err := s.engine.WriteRecords("webhook/"+string(name), ws, func(err error) { done <- err }); err != nil {
		return fmt.Errorf("write webhook %s: %w", name, err)
	}
	if err := <-done; err != nil {
		return fmt.Errorf("write webhook %s: %w", name, err)
	}
	return nil
}

// CheckURL returns an error if an address may never be called.
func (s *Service) checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case len(text) > twin.WebhookURLBytesMax:
		return invalidf("url: %d bytes are over the limit of %d", len(text), twin.WebhookURLBytesMax)
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return invalidf("url: this is no address such as https://example.com/hook")
	case u.User != nil:
		return invalidf("url: a name or password in it is not taken; requests are signed")
	case u.Fragment != "":
		return invalidf("url: a fragment (#) is never sent; leave it out")
	}
	if err := s.opts.Guard.CheckHost(u.Hostname()); err != nil {
		return invalidf("url: %v", err)
	}
	return nil
}

func invalidf(format string, args ...any) error {
	return twin.NewError(twin.KindInvalid, fmt.Sprintf(format, args...))
}

func (s *Service) enabled() error {
	if !s.opts.Enabled {
		return twin.NewError(twin.KindDenied, "Webhooks are off; set webhooks.enabled to true and restart the server")
	}
	return nil
}

// Create makes a webhook that gets what happens from now on, and returns its secret: the
// one that is given, or a new one if that is empty. It is shown by nothing else.
func (s *Service) Create(ctx context.Context, w *twin.Webhook, secret string) (twin.WebhookStatus, string, error) {
	var none twin.WebhookStatus
	if err := s.enabled(); err != nil {
		return none, "", err
	}
	if err := w.Check(); err != nil {
		return none, "", err
	}
	if err := s.checkURL(w.URL); err != nil {
		return none, "", err
	}
	key := make([]byte, 32)
	if secret == "" {
		_, _ = rand.Read(key) // it never fails
	} else {
		var err error
		if key, err = twin.ParseWebhookSecret(secret); err != nil {
			return none, "", err
		}
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return none, "", err
	}
	defer leave()
	if err := s.room(w.Name); err != nil {
		return none, "", err
	}
	head, err := s.feed.Head(ctx)
	if err != nil {
		return none, "", fmt.Errorf("read the head of the feed: %w", err)
	}
	h := newHook(s)
	h.definition = definition{Webhook: *w, ID: rand.Text()[:12], Secret: key, Created: twin.TimeOf(s.opts.Now())}
	h.place = place{Cursor: head}
	if err := s.write(w.Name,
		twin.RecordWrite{Kind: twin.RecordWebhook, Key: string(w.Name), Value: encodeRecord(h.definition)},
		twin.RecordWrite{Kind: twin.RecordWebhook, Key: placeKey(w.Name), Value: encodeRecord(h.place)},
	); err != nil {
		return none, "", err
	}
	s.mu.Lock()
	s.hooks[w.Name] = h
	if s.closed {
		close(h.done) // the next start delivers
	} else {
		s.start(h)
	}
	s.mu.Unlock()
	return h.status(), twin.FormatWebhookSecret(key), nil
}

// room reports whether there may be another webhook of this name.
func (s *Service) room(name twin.WebhookName) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hooks[name] != nil {
		return twin.NewError(twin.KindConflict, fmt.Sprintf("There is a webhook %q already; remove it first", name))
	}
	if len(s.hooks) >= s.opts.HooksMax {
		return twin.NewError(twin.KindFull, fmt.Sprintf("There are %d webhooks, which is the most there may be", len(s.hooks)))
	}
	return nil
}

// Delete removes a webhook with its dead letters. What is being sent may still arrive.
func (s *Service) Delete(ctx context.Context, name twin.WebhookName) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	h, err := s.hook(name)
	if err != nil {
		return err
	}
	if h.stop != nil {
		h.stop()
	}
	<-h.done
	ws := []twin.RecordWrite{{Kind: twin.RecordWebhook, Key: string(name)}, {Kind: twin.RecordWebhook, Key: placeKey(name)}}
	err = s.scan(ctx, twin.RecordDeadLetter, placeKey(name), func(r *twin.Record) error {
		ws = append(ws, twin.RecordWrite{Kind: r.Kind, Key: r.Key})
		return nil
	})
	if err == nil {
		err = s.write(name, ws...)
	}
	if err != nil {
		s.revive(h) // it is still there
		return fmt.Errorf("remove webhook %s: %w", name, err)
	}
	s.mu.Lock()
	delete(s.hooks, name)
	s.mu.Unlock()
	return nil
}

// revive lets a webhook go on whose removal failed.
func (s *Service) revive(h *hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	again := newHook(s)
	h.mu.Lock()
	again.definition, again.place, again.dead = h.definition, h.place, h.dead
	h.mu.Unlock()
	s.hooks[h.Name] = again
	s.start(again)
}

func (s *Service) hook(name twin.WebhookName) (*hook, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hooks[name]
	if h == nil {
		return nil, twin.NewError(twin.KindNotFound, fmt.Sprintf("There is no webhook %.80q", name))
	}
	return h, nil
}

// Webhooks lists all, by name.
func (s *Service) Webhooks() []twin.WebhookStatus {
	s.mu.Lock()
	hooks := make([]*hook, 0, len(s.hooks))
	for _, h := range s.hooks {
		hooks = append(hooks, h)
	}
	s.mu.Unlock()
	list := make([]twin.WebhookStatus, len(hooks))
	for i, h := range hooks {
		list[i] = h.status()
	}
	slices.SortFunc(list, func(a, b twin.WebhookStatus) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return list
}

// Webhook returns one; an error of kind KindNotFound if there is none of that name.
func (s *Service) Webhook(name twin.WebhookName) (twin.WebhookStatus, error) {
	h, err := s.hook(name)
	if err != nil {
		return twin.WebhookStatus{}, err
	}
	return h.status(), nil
}
