package webhook

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/twin"
)

// Test sends a request without events and returns why the receiver did not take it, empty
// if it did.
func (s *Service) Test(ctx context.Context, name twin.WebhookName) (string, error) {
	if err := s.enabled(); err != nil {
		return "", err
	}
	h, err := s.hook(name)
	if err != nil {
		return "", err
	}
	body, err := marshal(message{
		Type: "test", Timestamp: timeText(twin.TimeOf(s.opts.Now())),
		Data: messageData{Webhook: h.Name, Events: []json.RawMessage{}},
	})
	if err != nil {
		return "", err
	}
	failed := s.sender.send(ctx, h.URL, h.Secret, "msg_test_"+rand.Text()[:12], body)
	return failed.reason(), nil
}

// Dead lists the dead letters of a webhook, oldest first.
func (s *Service) Dead(ctx context.Context, name twin.WebhookName) ([]twin.DeadLetter, error) {
	if _, err := s.hook(name); err != nil {
		return nil, err
	}
	list := []twin.DeadLetter{}
	err := s.scan(ctx, twin.RecordDeadLetter, placeKey(name), func(r *twin.Record) error {
		var d twin.DeadLetter
		if err := decodeRecord(r.Value, &d); err != nil {
			return err
		}
		list = append(list, d)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the dead letters of %s: %w", name, err)
	}
	return list, nil
}

// letter finds a dead letter of a webhook.
func (s *Service) letter(ctx context.Context, name twin.WebhookName, id string) (*hook, *twin.DeadLetter, error) {
	h, err := s.hook(name)
	if err != nil {
		return nil, nil, err
	}
	list, err := s.Dead(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	at := slices.IndexFunc(list, func(d twin.DeadLetter) bool { return d.ID == id })
	if at < 0 {
		return nil, nil, twin.NewError(twin.KindNotFound, fmt.Sprintf("The webhook %q has no dead letter %.80q", name, id))
	}
	return h, &list[at], nil
}

// Retry sends a dead letter once more, now. If the receiver takes it, it is removed; if
// not, the reason is returned and it stays.
func (s *Service) Retry(ctx context.Context, name twin.WebhookName, id string) (string, error) {
	if err := s.enabled(); err != nil {
		return "", err
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	h, d, err := s.letter(ctx, name, id)
	if err != nil {
		return "", err
	}
	b, err := h.collect(ctx, feed.Cursor(d.After), feed.Cursor(d.UpTo))
	var gone *feed.GoneError
	switch {
	case errors.As(err, &gone):
		return "", twin.NewError(twin.KindConflict, "The events of this dead letter have expired; it can only be removed")
	case err != nil:
		return "", err
	}
	failed := s.sender.send(ctx, h.URL, h.Secret, d.ID, b.body)
	if failed == nil {
		return "", s.remove(h, d)
	}
	d.Tries++
	d.Error, d.Time = failed.text, twin.TimeOf(s.opts.Now())
	return failed.text, s.write(name, twin.RecordWrite{Kind: twin.RecordDeadLetter, Key: deadKey(name, d.UpTo), Value: encodeRecord(d)})
}

// Discard removes a dead letter.
func (s *Service) Discard(ctx context.Context, name twin.WebhookName, id string) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	h, d, err := s.letter(ctx, name, id)
	if err != nil {
		return err
	}
	return s.remove(h, d)
}

func (s *Service) remove(h *hook, d *twin.DeadLetter) error {
	if err := s.write(h.Name, twin.RecordWrite{Kind: twin.RecordDeadLetter, Key: deadKey(h.Name, d.UpTo)}); err != nil {
		return err
	}
	h.mu.Lock()
	h.dead--
	h.mu.Unlock()
	return nil
}
