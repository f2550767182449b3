package mqtt

import (
	"net/http"

	"github.com/coder/websocket"
)

// ServeHTTP serves MQTT over WebSocket, clause 6. The subprotocols are "mqtt"
// [MQTT-6.0.0-3] and "mqttv3.1", which is all that version 1 of the AWS SDK for
// JavaScript offers and insists on. Frames are binary [MQTT-6.0.0-1] and packets
// may span them [MQTT-6.0.0-2].
//
// Browsers may connect only from pages of the same host.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:    []string{"mqtt", "mqttv3.1"},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return // Accept has answered
	}
	if ws.Subprotocol() == "" {
		// The client must offer one of them [MQTT-6.0.0-3].
		_ = ws.Close(websocket.StatusProtocolError, "subprotocol mqtt is needed") // the peer may have gone
		return
	}
	// The request's context ends with this call, so it can bound the connection.
	if c := b.admit(websocket.NetConn(r.Context(), ws, websocket.MessageBinary)); c != nil {
		b.live(c)
	}
}
