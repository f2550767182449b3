package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/internal/server"
	"github.com/twofold-iot/twofold/twin"
)

// A server takes what an IoT rule sends: subscribers hear of it, a restart forgets nothing,
// and the past proves itself.
func TestIngest_overRestart(t *testing.T) {
	now := time.Now().Unix()
	doc := func(version int) json.RawMessage {
		at := now - 100 + int64(version)
		return fmt.Appendf(nil, `{"previous":null,"current":{"state":{"desired":{"on":true},"reported":{"n":%d}},"metadata":{"desired":{"on":{"timestamp":%d}},`+
			`"reported":{"n":{"timestamp":%d}}},"version":%d},"timestamp":%d,"thing":"lamp-1"}`, version, at-9, at, version, at)
	}
	c := config(t)
	r := start(t, c)
	d := connect(t, "tcp://"+r.addr(t, "mqtt"), nil)
	d.subscribe(t, "$aws/things/lamp-1/shadow/update/delta")
	ingest := func(r *running, want string, versions ...int) {
		t.Helper()
		var docs []json.RawMessage
		for _, v := range versions {
			docs = append(docs, doc(v))
		}
		results, err := r.client(t).IngestDocuments(context.Background(), twin.ShadowKey{}, docs)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, res := range results {
			got = append(got, res.Result)
		}
		if strings.Join(got, " ") != want {
			t.Fatalf("results %v, want %s", got, want)
		}
	}
	ingest(r, "applied known recorded", 5, 5, 2)
	if got := d.next(t, "$aws/things/lamp-1/shadow/update/delta"); got != `{"on":true}` {
		t.Errorf("delta %s", got)
	}
	if status, body := r.call(t, http.MethodPost, "/api/v1/ingest/shadow-documents/?confirmationToken=x",
		`{"arn":"a","enableUrl":"https://iot.eu-central-1.amazonaws.com/confirmdestination/x","messageType":"DestinationConfirmation"}`); status != http.StatusOK {
		t.Errorf("confirmation: %d %s", status, body)
	}
	if list, err := r.client(t).Confirmations(context.Background()); err != nil || len(list) != 1 || list[0].State != "waiting" {
		t.Errorf("confirmations %+v, %v", list, err)
	}
	d.Disconnect(0)
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	ingest(r, "known known recorded applied", 5, 2, 3, 6)
	past, err := r.client(t).PastTwin(context.Background(), "lamp-1", "", time.Unix(now-96, 0), 0)
	if err != nil || past.Version != 3 || string(past.CurrentState) != `{"n":3}` {
		t.Errorf("%+v, %v", past, err)
	}
	results, err := r.client(t).IngestDocuments(context.Background(), twin.ShadowKey{},
		[]json.RawMessage{json.RawMessage(strings.Replace(string(doc(3)), `"n":3`, `"n":4`, 1))})
	if err != nil || results[0].Problem == nil || results[0].Problem.Status != http.StatusConflict {
		t.Errorf("%+v, %v", results, err)
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	o, err := server.OpenOffline(c.Data, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}()
	report, err := proof.Rebuild(context.Background(), o.Source(), proof.Options{})
	if err != nil || !report.OK() || report.Shadows != 1 {
		t.Errorf("rebuild: %+v, %v", report, err)
	}
}
