package client_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

func TestIngestDocuments(t *testing.T) {
	c, seen := serve(t,
		ok(`{"results":[{"deviceId":"a","version":3,"result":"applied"},{"deviceId":"a","result":"failed","problem":{"status":409,"detail":"another content"}}]}`),
		ok(`{"results":[{"deviceId":"a","shadow":"net","version":3,"result":"known"}]}`),
		ok(`{"results":[]}`),
		answer(507, "application/problem+json", `{"status":507,"detail":"Too many updates are waiting"}`))
	docs := []json.RawMessage{[]byte(`{"thing":"a","current":{}}`), []byte(`{"thing":"a"}`)}
	results, err := c.IngestDocuments(context.Background(), twin.ShadowKey{}, docs)
	if err != nil || len(results) != 2 || results[0].Result != client.IngestApplied || results[1].Result != client.IngestFailed || results[1].Problem.Status != 409 {
		t.Errorf("%+v, %v", results, err)
	}
	results, err = c.IngestDocuments(context.Background(), twin.ShadowKey{Thing: "a", Shadow: "net"}, docs[1:])
	if err != nil || results[0].Result != client.IngestKnown || results[0].Shadow != "net" {
		t.Errorf("%+v, %v", results, err)
	}
	if _, err := c.IngestDocuments(context.Background(), twin.ShadowKey{Thing: "a"}, docs); err == nil {
		t.Error("an answer with too few results is no error")
	}
	if _, err := c.IngestDocuments(context.Background(), twin.ShadowKey{Thing: "a"}, docs); err == nil {
		t.Error("a full queue is no error")
	}
	var got []string
	for _, e := range *seen {
		got = append(got, e.Target+" "+e.Body)
	}
	const path = "/api/v1/ingest/shadow-documents"
	want := []string{
		path + ` [{"thing":"a","current":{}},{"thing":"a"}]`, path + `/a/net [{"thing":"a"}]`,
		path + `/a [{"thing":"a","current":{}},{"thing":"a"}]`, path + `/a [{"thing":"a","current":{}},{"thing":"a"}]`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestConfirmations(t *testing.T) {
	c, _ := serve(t, ok(`{"confirmations":[{"arn":"arn:a","enableUrl":"https://iot.us-east-1.amazonaws.com/x","received":"2026-11-22T12:00:00Z","state":"waiting"}]}`))
	list, err := c.Confirmations(context.Background())
	if err != nil || len(list) != 1 || list[0].State != "waiting" || list[0].Received.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
}
