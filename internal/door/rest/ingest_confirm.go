package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Before AWS IoT sends what a rule selects to an HTTP destination, it posts a confirmation
// there, with an address that somebody has to open: so nobody can be flooded who does
// not want it (AWS IoT Developer Guide, "HTTP action destinations").

const (
	confirmationHeader = "X-Amz-Rules-Engine-Message-Type"
	confirmationType   = "DestinationConfirmation"
	confirmationsMax   = 16
	confirmTimeout     = 10 * time.Second
	enableURLBytesMax  = 4096
	arnBytesMax        = 2048
)

// The states of a confirmation.
const (
	confirmWaiting   = "waiting"   // somebody has to open enableUrl
	confirmConfirmed = "confirmed" // this server has opened it
	confirmFailed    = "failed"    // error says why
)

// confirmation is what AWS asks before it sends anything to a destination.
type confirmation struct {
	ARN       string `json:"arn"`
	EnableURL string `json:"enableUrl"`
	Received  string `json:"received"`
	State     string `json:"state"`
	Error     string `json:"error,omitempty"`
}

type confirmationList struct {
	Confirmations []confirmation `json:"confirmations"` // newest first
}

// confirmations are the newest of them, one for each destination.
type confirmations struct {
	mu   sync.Mutex
	list []confirmation
}

func (c *confirmations) put(n confirmation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = slices.DeleteFunc(c.list, func(old confirmation) bool { return old.ARN == n.ARN })
	c.list = slices.Insert(c.list, 0, n)
	c.list = c.list[:min(len(c.list), confirmationsMax)]
}

func (c *confirmations) all() []confirmation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]confirmation{}, c.list...)
}

func (d *door) listConfirmations(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, confirmationList{d.confirmations.all()})
}

// confirmationRequest is what AWS posts.
type confirmationRequest struct {
	ARN         string `json:"arn"`
	EnableURL   string `json:"enableUrl"`
	MessageType string `json:"messageType"`
}

// isConfirmation goes by the header, and where something between has dropped that, by
// the body.
func isConfirmation(r *http.Request, body []byte) bool {
	if r.Header.Get(confirmationHeader) == confirmationType {
		return true
	}
	var c confirmationRequest
	return len(body) > 0 && body[0] == '{' && json.Unmarshal(body, &c) == nil && c.MessageType == confirmationType && c.EnableURL != ""
}

// confirm answers a confirmation first, and then opens its address if that is wanted: AWS
// may wait for the answer.
func (d *door) confirm(w http.ResponseWriter, r *http.Request, body []byte) error {
	var req confirmationRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return badBody("#", "the body of the confirmation is not a JSON object: %v", err)
	}
	if len(req.ARN) > arnBytesMax {
		return badBody("#/arn", "arn: it is longer than %d bytes", arnBytesMax)
	}
	address, err := enableURL(req.EnableURL)
	if err != nil {
		return err
	}
	c := confirmation{ARN: req.ARN, EnableURL: address, Received: d.opts.Now().UTC().Format(time.RFC3339), State: confirmWaiting}
	d.confirmations.put(c)
	d.log.LogAttrs(r.Context(), slog.LevelInfo, "aws iot asks to confirm a destination",
		slog.String("arn", c.ARN), slog.String("enable_url", c.EnableURL), slog.Bool("confirms", d.opts.Confirm != nil))
	answer, err := marshal(ingested{Results: []ingestResult{}, Confirmation: &c})
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer) // AWS may be gone; what it wants is the confirmation
	if d.opts.Confirm == nil {
		return nil
	}
	_ = http.NewResponseController(w).Flush() // the answer is whole, if only later
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), confirmTimeout)
	defer cancel()
	c.State = confirmConfirmed
	if err := d.open(ctx, address); err != nil {
		c.State, c.Error = confirmFailed, err.Error()
		d.log.LogAttrs(ctx, slog.LevelWarn, "destination not confirmed; open its address",
			slog.String("arn", c.ARN), slog.String("enable_url", c.EnableURL), slog.String("error", c.Error))
	}
	d.confirmations.put(c)
	return nil
}

// awsHost is the endpoint of AWS IoT of a region, and nothing else under that domain: much
// of it is in the hands of customers.
var awsHost = regexp.MustCompile(`^iot(-fips)?\.[a-z0-9-]{1,40}\.amazonaws\.com(\.cn)?$`)

// enableURL refuses an address that is not one of AWS IoT: this server, or the operator,
// is going to open it.
func enableURL(text string) (string, error) {
	bad := func(why string) error { return badBody("#/enableUrl", "enableUrl: %s", why) }
	if text == "" {
		return "", bad("it is missing")
	}
	if len(text) > enableURLBytesMax {
		return "", bad(fmt.Sprintf("it is longer than %d bytes", enableURLBytesMax))
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", bad("it is not a URL")
	case u.Scheme != "https" || u.User != nil || u.Port() != "" || !awsHost.MatchString(u.Hostname()):
		return "", bad("it is not an address of AWS IoT such as https://iot.us-east-1.amazonaws.com/confirmdestination/…")
	}
	return u.String(), nil
}

// open reads an address and follows no redirect: that could lead anywhere.
func (d *door) open(ctx context.Context, address string) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	client := *d.opts.Confirm
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("open the address: %w", err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("open the address: AWS answered %s", res.Status)
	}
	return nil
}
