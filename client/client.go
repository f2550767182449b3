package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Options tune a Client; the zero value works.
type Options struct {
	HTTP         *http.Client  // nil: a client of its own
	Timeout      time.Duration // of one request; 30 s
	BodyBytesMax int64         // longest answer that is read; 16 MiB
	UserAgent    string        // twofold-client
	PageLen      int           // twins asked for per page of a list; 500
}

// Client talks to one server. It may be used by several goroutines.
type Client struct {
	base *url.URL
	opts Options
}

// New returns a client of the server at a URL such as http://127.0.0.1:8080.
func New(server string, opts Options) (*Client, error) {
	base, err := url.Parse(server)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("server %q is not a URL such as http://127.0.0.1:8080", server)
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	base.RawQuery, base.Fragment = "", ""
	if opts.HTTP == nil {
		opts.HTTP = &http.Client{}
	}
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	if opts.BodyBytesMax == 0 {
		opts.BodyBytesMax = 16 << 20
	}
	if opts.UserAgent == "" {
		opts.UserAgent = "twofold-client"
	}
	if opts.PageLen == 0 {
		opts.PageLen = 500
	}
	return &Client{base: base, opts: opts}, nil
}

// Server returns the URL the client talks to.
func (c *Client) Server() string { return c.base.String() }

// Twin is one shadow of a twin as the server shows it. A nil state is one that is
// not set.
type Twin struct {
	DeviceID     twin.ThingName    `json:"deviceId"`
	Shadow       twin.ShadowName   `json:"shadow"`
	Model        string            `json:"model"`
	Tags         map[string]string `json:"tags"`
	Version      twin.Version      `json:"version"` // 0: a twin that was created and has no classic shadow yet
	AsOf         time.Time         `json:"asOf"`    // of a past state: the time of the event that made it
	Connected    bool              `json:"connected"`
	LastSeen     time.Time         `json:"lastSeen"` // zero: not known
	State        string            `json:"state"`    // of the behaviour; empty: none is known
	StateSince   time.Time         `json:"stateSince"`
	CurrentState json.RawMessage   `json:"currentState"`
	DesiredState json.RawMessage   `json:"desiredState"`
	Delta        json.RawMessage   `json:"delta"`
	Metadata     struct {
		Reported json.RawMessage `json:"reported"`
		Desired  json.RawMessage `json:"desired"`
	} `json:"metadata"`

	// Raw is the answer as sent, AnsweredAt the server's clock when it answered,
	// zero if it did not say.
	Raw        json.RawMessage `json:"-"`
	AnsweredAt time.Time       `json:"-"`
}

// Twin reads a shadow of a thing; the empty name is the classic shadow.
func (c *Client) Twin(ctx context.Context, thing twin.ThingName, shadow twin.ShadowName) (*Twin, error) {
	return c.readTwin(ctx, twinPath(thing, "", shadow))
}

func (c *Client) readTwin(ctx context.Context, path string) (*Twin, error) {
	a, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	t := &Twin{Raw: a.body}
	if err := json.Unmarshal(a.body, t); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	if t.AnsweredAt, err = http.ParseTime(a.header.Get("Date")); err != nil {
		t.AnsweredAt = time.Time{}
	}
	return t, nil
}

// Summary is a twin in a list. Version is 0 for a twin that has named shadows
// only.
type Summary struct {
	DeviceID twin.ThingName    `json:"deviceId"`
	Model    string            `json:"model"`
	Tags     map[string]string `json:"tags"`
	Version  twin.Version      `json:"version"`
	LastSeen time.Time         `json:"lastSeen"`
	Delta    json.RawMessage   `json:"delta"`

	Raw json.RawMessage `json:"-"` // the entry as sent
}

// Twins lists all twins by name. It reads page by page as the loop goes on; an
// error ends the list.
func (c *Client) Twins(ctx context.Context) iter.Seq2[Summary, error] { return c.TwinsOfModel(ctx, "") }

// TwinsOfModel lists the twins that have a model; the empty one stands for all twins.
func (c *Client) TwinsOfModel(ctx context.Context, model string) iter.Seq2[Summary, error] {
	path := "/api/v1/twins"
	if model != "" {
		path += "?model=" + url.QueryEscape(model)
	}
	return func(yield func(Summary, error) bool) {
		for cursor := ""; ; {
			var page struct {
				Twins []json.RawMessage `json:"twins"`
				Next  string            `json:"next"`
			}
			if err := c.page(ctx, path, cursor, &page); err != nil {
				yield(Summary{}, err)
				return
			}
			for _, raw := range page.Twins {
				s := Summary{Raw: raw}
				if err := json.Unmarshal(raw, &s); err != nil {
					yield(Summary{}, fmt.Errorf("read an entry of the list: %w", err))
					return
				}
				if !yield(s, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			cursor = page.Next
		}
	}
}

// Shadows lists the shadows of a thing: the classic one, if there is one, as the
// empty name first, then the named ones in order.
func (c *Client) Shadows(ctx context.Context, thing twin.ThingName) iter.Seq2[twin.ShadowName, error] {
	return func(yield func(twin.ShadowName, error) bool) {
		for cursor := ""; ; {
			var page struct {
				Classic bool              `json:"classic"`
				Names   []twin.ShadowName `json:"names"`
				Next    string            `json:"next"`
			}
			if err := c.page(ctx, twinPath(thing, "/shadows", ""), cursor, &page); err != nil {
				yield("", err)
				return
			}
			if page.Classic && cursor == "" && !yield("", nil) {
				return
			}
			for _, n := range page.Names {
				if !yield(n, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			cursor = page.Next
		}
	}
}

func (c *Client) page(ctx context.Context, path, cursor string, into any) error {
	q := url.Values{"limit": {strconv.Itoa(c.opts.PageLen)}}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	a, err := c.do(ctx, http.MethodGet, path+separator+q.Encode(), nil, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return nil
}

// ChangeOptions say how a change is made; the zero value is an unconditional
// change of the classic shadow.
type ChangeOptions struct {
	Shadow twin.ShadowName
	// IfVersion makes the change only if the shadow is at this version; 0: whatever
	// it is at. Otherwise the error is one of [IsConflict].
	IfVersion twin.Version
	// IdempotencyKey gives the change one effect however often it is sent; empty:
	// none.
	IdempotencyKey string
	// ExpiresIn is how long what [Client.PatchDesired] asks for is asked for; 0: for ever.
	ExpiresIn time.Duration
}

// Changed is the answer to a change that is durable.
type Changed struct {
	DeviceID twin.ThingName  `json:"deviceId"`
	Shadow   twin.ShadowName `json:"shadow"`
	Version  twin.Version    `json:"version"`
	Deleted  bool            `json:"deleted"`

	Replayed bool            `json:"-"` // the change had been made before under the same key
	Raw      json.RawMessage `json:"-"` // the answer as sent
}

// PatchDesired merges a JSON merge patch (RFC 7396) into what is asked of a thing.
func (c *Client) PatchDesired(ctx context.Context, thing twin.ThingName, patch json.RawMessage, opts ChangeOptions) (*Changed, error) {
	path := twinPath(thing, "/desired", opts.Shadow)
	if opts.ExpiresIn > 0 {
		sep := "?"
		if opts.Shadow != "" {
			sep = "&"
		}
		path += sep + "expiresIn=" + opts.ExpiresIn.String()
	}
	return c.change(ctx, http.MethodPatch, path, patch, opts)
}

// PatchReported merges a JSON merge patch into what a thing has reported, in its
// stead.
func (c *Client) PatchReported(ctx context.Context, thing twin.ThingName, patch json.RawMessage, opts ChangeOptions) (*Changed, error) {
	return c.change(ctx, http.MethodPatch, twinPath(thing, "/reported", opts.Shadow), patch, opts)
}

// Delete deletes a shadow of a thing.
func (c *Client) Delete(ctx context.Context, thing twin.ThingName, opts ChangeOptions) (*Changed, error) {
	return c.change(ctx, http.MethodDelete, twinPath(thing, "", opts.Shadow), nil, opts)
}

// DeleteWhole deletes all shadows of a thing, its model and its tags. Its history stays.
func (c *Client) DeleteWhole(ctx context.Context, thing twin.ThingName) (*Changed, error) {
	return c.change(ctx, http.MethodDelete, twinPath(thing, "", "")+"?whole=true", nil, ChangeOptions{})
}

func (c *Client) change(ctx context.Context, method, path string, body []byte, opts ChangeOptions) (*Changed, error) {
	h := http.Header{}
	if body != nil {
		h.Set("Content-Type", "application/merge-patch+json")
	}
	if opts.IfVersion != 0 {
		h.Set("If-Match", `"v`+strconv.FormatUint(uint64(opts.IfVersion), 10)+`"`)
	}
	if opts.IdempotencyKey != "" {
		h.Set("Idempotency-Key", opts.IdempotencyKey)
	}
	a, err := c.do(ctx, method, path, h, body)
	if err != nil {
		return nil, err
	}
	ch := &Changed{Raw: a.body, Replayed: a.header.Get("Idempotency-Replayed") == "true"}
	if err := json.Unmarshal(a.body, ch); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return ch, nil
}

func twinPath(thing twin.ThingName, under string, shadow twin.ShadowName) string {
	p := "/api/v1/twins/" + url.PathEscape(string(thing)) + under
	if shadow != "" {
		p += "?shadow=" + url.QueryEscape(string(shadow))
	}
	return p
}

// answer is what came back for a request that succeeded.
type answer struct {
	request string
	header  http.Header
	body    []byte
}

func (c *Client) do(ctx context.Context, method, path string, header http.Header, body []byte) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	a.request = method + " " + path
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, bytes.NewReader(body))
	if err != nil {
		return a, fmt.Errorf("make request %s: %w", a.request, err)
	}
	maps.Copy(req.Header, header)
	req.Header.Set("User-Agent", c.opts.UserAgent)
	res, err := c.opts.HTTP.Do(req)
	if err != nil {
		return a, &UnreachableError{Server: c.base.String(), Err: bare(err)}
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	a.header = res.Header
	a.body, err = io.ReadAll(io.LimitReader(res.Body, c.opts.BodyBytesMax+1))
	if err != nil {
		return a, &UnreachableError{Server: c.base.String(), Err: fmt.Errorf("read the answer to %s: %w", a.request, err)}
	}
	if int64(len(a.body)) > c.opts.BodyBytesMax {
		return a, fmt.Errorf("the answer to %s is longer than %d bytes", a.request, c.opts.BodyBytesMax)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return a, newError(res, a.body)
	}
	return a, nil
}

// bare drops method and URL from a transport error: they are said once, by us.
func bare(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}
