package server

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/twin"
)

// takenRetry is when a delivery for which the queue had no room is noted again.
const takenRetry = time.Second

// taken hears of each message that a client has: if it tells a device what is asked of it, the
// intents in it are delivered.
func (s *Server) taken(client, topic string, payload []byte) {
	delta := strings.HasSuffix(topic, "/update/delta")
	if !delta && !strings.HasSuffix(topic, "/get/accepted") {
		return
	}
	t, ok := awsiot.ParseTopic(topic)
	if !ok || !s.things.StandsFor(client, t.Key.Thing) || s.engine.Intents(t.Key).Oldest() == nil {
		return
	}
	var doc struct {
		Version twin.Version `json:"version"`
	}
	if json.Unmarshal(payload, &doc) != nil || doc.Version == 0 { // a message of somebody's own
		return
	}
	s.noteTaken(t.Key, doc.Version, client, delta)
}

func (s *Server) noteTaken(key twin.ShadowKey, v twin.Version, client string, delta bool) {
	err := s.engine.IntentDelivered(key, v, client, delta, nil)
	if twin.Kind(err) == twin.KindFull && err != nil {
		time.AfterFunc(takenRetry, func() { s.noteTaken(key, v, client, delta) })
	}
}
