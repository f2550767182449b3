package mqtt_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/twofold-iot/twofold/internal/door/mqtt"
	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// connect3 connects eclipse paho's 3.1.1 client.
func connect3(t *testing.T, url string, edit func(*paho3.ClientOptions)) paho3.Client {
	t.Helper()
	o := paho3.NewClientOptions().AddBroker(url).SetClientID("paho3").SetProtocolVersion(4).
		SetAutoReconnect(false).SetUsername("?SDK=JavaScript&Version=2.2.16").SetKeepAlive(300 * time.Second)
	if edit != nil {
		edit(o)
	}
	c := paho3.NewClient(o)
	done3(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func done3(t *testing.T, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatal("no answer")
	}
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

// exchange3 publishes to itself and gets it back.
func exchange3(t *testing.T, c paho3.Client) {
	t.Helper()
	got := make(chan string, 100)
	done3(t, c.Subscribe("t/#", 1, func(_ paho3.Client, m paho3.Message) { got <- string(m.Payload()) }))
	for i := range 20 {
		done3(t, c.Publish("t/x", 1, false, fmt.Sprint(i)))
	}
	for i := range 20 {
		if s := <-got; s != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", s, i)
		}
	}
}

func TestPaho_v3(t *testing.T) {
	b := start(t, mqtt.Options{Records: newRecords()})
	exchange3(t, connect3(t, "tcp://"+b.addr, nil))
}

// A paho client with a persistent session gets what it missed, in order.
func TestPaho_v3Persistent(t *testing.T) {
	b := start(t, mqtt.Options{Records: newRecords()})
	got := make(chan string, 100)
	edit := func(o *paho3.ClientOptions) {
		o.SetCleanSession(false).SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { got <- string(m.Payload()) })
	}
	c := connect3(t, "tcp://"+b.addr, edit)
	done3(t, c.Subscribe("t", 1, nil))
	c.Disconnect(100)
	b.eventually("client is gone", func() bool { return !b.Connected("paho3") })
	for i := range 50 {
		send(b, "t", fmt.Sprint(i))
	}
	connect3(t, "tcp://"+b.addr, edit)
	for i := range 50 {
		if s := <-got; s != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", s, i)
		}
	}
}

func TestPaho_v5(t *testing.T) {
	b := start(t, mqtt.Options{Records: newRecords()})
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *paho.Publish, 100)
	c := paho.NewClient(paho.ClientConfig{
		Conn: nc,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			got <- p.Packet
			return true, nil
		}},
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ack, err := c.Connect(ctx, &paho.Connect{CleanStart: true, KeepAlive: 60})
	if err != nil {
		t.Fatal(err)
	}
	if ack.Properties.AssignedClientID == "" || ack.Properties.MaximumQoS == nil || *ack.Properties.MaximumQoS != 1 || ack.Properties.SharedSubAvailable {
		t.Fatalf("CONNACK %+v", ack.Properties)
	}
	id := 5
	if _, err := c.Subscribe(ctx, &paho.Subscribe{
		Properties:    &paho.SubscribeProperties{SubscriptionIdentifier: &id},
		Subscriptions: []paho.SubscribeOptions{{Topic: "t/+", QoS: 1}},
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		r, err := c.Publish(ctx, &paho.Publish{
			Topic: "t/x", QoS: 1, Payload: fmt.Append(nil, i),
			Properties: &paho.PublishProperties{ContentType: "text/plain", User: paho.UserProperties{{Key: "k", Value: "v"}}},
		})
		if err != nil || r.ReasonCode != 0 {
			t.Fatalf("%+v %v", r, err)
		}
	}
	for i := range 20 {
		p := <-got
		if string(p.Payload) != fmt.Sprint(i) || p.Properties.ContentType != "text/plain" || p.Properties.User.Get("k") != "v" || *p.Properties.SubscriptionIdentifier != 5 {
			t.Fatalf("got %+v", p)
		}
	}
	if err := c.Disconnect(&paho.Disconnect{}); err != nil {
		t.Fatal(err)
	}
}

// MQTT over WebSocket, with the subprotocol names of the standard [MQTT-6.0.0-3] and
// of the AWS SDK v1.
func TestWebSocket(t *testing.T) {
	b := start(t, mqtt.Options{})
	srv := httptest.NewServer(b)
	defer srv.Close()
	url := "ws" + strings.TrimPrefix(srv.URL, "http")
	exchange3(t, connect3(t, url+"/mqtt", nil)) // paho offers "mqtt"

	ws, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{Subprotocols: []string{"mqttv3.1"}})
	if err != nil || ws.Subprotocol() != "mqttv3.1" {
		t.Fatalf("subprotocol %q, %v", ws.Subprotocol(), err)
	}
	// One packet in many frames, many packets in one frame [MQTT-6.0.0-2].
	raw := packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, CleanStart: true, ClientID: []byte("ws")})
	for _, c := range raw {
		if err := ws.Write(t.Context(), websocket.MessageBinary, []byte{c}); err != nil {
			t.Fatal(err)
		}
	}
	pings := packet.AppendPing(packet.AppendPing(nil, packet.PINGREQ), packet.PINGREQ)
	if err := ws.Write(t.Context(), websocket.MessageBinary, pings); err != nil {
		t.Fatal(err)
	}
	nc := websocket.NetConn(t.Context(), ws, websocket.MessageBinary)
	c := &rawClient{t: t, nc: nc, v: packet.V311}
	c.expect(packet.CONNACK)
	c.expect(packet.PINGRESP)
	c.expect(packet.PINGRESP)
	// A text frame ends it [MQTT-6.0.0-1].
	if err := ws.Write(t.Context(), websocket.MessageText, pings); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.read(); err == nil {
		t.Fatal("a text frame was taken")
	}
	_ = nc.Close()

	none, _, err := websocket.Dial(t.Context(), url, nil)
	if err == nil {
		if _, _, err = none.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusProtocolError {
			t.Fatalf("without subprotocol: %v", err)
		}
	}
	resp, err := http.Get(srv.URL)
	if err != nil || resp.StatusCode != http.StatusUpgradeRequired {
		t.Fatalf("plain GET: %v %v", resp, err)
	}
	_ = resp.Body.Close()
}

// TLS listeners are served like any other; a silent handshake is cut in time.
func TestServe_tls(t *testing.T) {
	b, err := mqtt.Open(discard(), mqtt.Options{ConnectTimeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(ln) }()
	c := connect3(t, "ssl://"+ln.Addr().String(), func(o *paho3.ClientOptions) {
		o.SetTLSConfig(&tls.Config{InsecureSkipVerify: true})
	})
	exchange3(t, c)
	silent, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = silent.SetReadDeadline(time.Now().Add(patience))
	if _, err := silent.Read(make([]byte, 1)); errors.Is(err, context.DeadlineExceeded) || !isEnd(err) {
		t.Fatalf("silent socket: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Close tells v5 clients why, publishes wills, and refuses what comes after.
func TestClose(t *testing.T) {
	r := newRecords()
	b := start(t, mqtt.Options{Records: r})
	sleeper := b.client(packet.V311, "sleeper", persistent)
	sleeper.subscribe(1, "w")
	sleeper.disconnect()
	five, three := b.client(packet.V5, "five", withWill("w", 1, false, 0)), b.client(packet.V311, "three")
	idle := b.dial(packet.V311)
	b.eventually("socket is known", func() bool { return b.Stats().Conns == 3 })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	five.expectClosed(packet.ServerShuttingDown)
	three.expectClosed(0)
	idle.expectClosed(0)
	if r.count(twin.RecordQueued) != 1 {
		t.Fatal("the will was not queued")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if nc, err := net.Dial("tcp", b.addr); err == nil {
		_, err = nc.Read(make([]byte, 1))
		if !errors.Is(err, io.EOF) {
			t.Fatalf("after Close: %v", err)
		}
	}
}

// The options say all that is wrong at once.
func TestOptions_Validate(t *testing.T) {
	err := mqtt.Options{InFlightMax: 70000, PacketBytesMax: 1, SessionExpiryMax: time.Millisecond}.Validate()
	for _, word := range []string{"InFlightMax", "PacketBytesMax", "SessionExpiryMax"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Fatalf("%s is not named in %v", word, err)
		}
	}
	if _, err := mqtt.Open(discard(), mqtt.Options{InFlightMax: -1}); err == nil {
		t.Fatal("opened")
	}
	if err := (mqtt.Options{}).Validate(); err != nil {
		t.Fatal(err)
	}
}
