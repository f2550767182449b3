package server_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/twofold-iot/twofold/internal/server"
)

// device is a real MQTT 3.1.1 client that keeps what it gets.
type device struct {
	paho.Client
	got chan paho.Message
}

func connect(t *testing.T, url string, config *tls.Config) *device {
	t.Helper()
	return connectAs(t, url, "lamp-1", config)
}

func connectAs(t *testing.T, url, id string, config *tls.Config) *device {
	t.Helper()
	d := &device{got: make(chan paho.Message, 100)}
	opts := paho.NewClientOptions().AddBroker(url).SetClientID(id).SetTLSConfig(config).
		SetConnectTimeout(waitMax).SetAutoReconnect(false).SetConnectRetry(false)
	d.Client = paho.NewClient(opts)
	d.wait(t, d.Connect())
	t.Cleanup(func() { d.Disconnect(0) })
	return d
}

func (d *device) wait(t *testing.T, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(waitMax) {
		t.Fatal("the client waits for ever")
	}
	if token.Error() != nil {
		t.Fatal(token.Error())
	}
}

func (d *device) subscribe(t *testing.T, filter string) {
	t.Helper()
	d.wait(t, d.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) { d.got <- m }))
}

func (d *device) publish(t *testing.T, topic, payload string) {
	t.Helper()
	d.wait(t, d.Publish(topic, 1, false, payload))
}

// next returns the state of the next message, which must be on a topic.
func (d *device) next(t *testing.T, topic string) string {
	t.Helper()
	m := receive(t, d.got)
	if m.Topic() != topic {
		t.Fatalf("got %s on %s, want a message on %s", m.Payload(), m.Topic(), topic)
	}
	var doc struct{ State json.RawMessage }
	if err := json.Unmarshal(m.Payload(), &doc); err != nil {
		t.Fatal(err)
	}
	return string(doc.State)
}

const lamp = "$aws/things/lamp-1/shadow/update"

// The same twin by three doors: what goes in by one comes out of the others.
func TestDoors_shareTwins(t *testing.T) {
	r := start(t, config(t))
	d := connect(t, "tcp://"+r.addr(t, "mqtt"), nil)
	d.subscribe(t, lamp+"/accepted")
	d.subscribe(t, lamp+"/delta")

	d.publish(t, lamp, `{"state":{"reported":{"on":true,"level":40,"big":9007199254740993}}}`)
	if got, want := d.next(t, lamp+"/accepted"), `{"reported":{"on":true,"level":40,"big":9007199254740993}}`; got != want {
		t.Errorf("accepted %s, want %s", got, want)
	}
	// MQTT in, REST and AWS out: acknowledged is durable is readable.
	if status, body := r.call(t, "GET", "/twins/lamp-1", ""); status != 200 || !strings.Contains(body, `"currentState":{"on":true,"level":40,"big":9007199254740993}`) {
		t.Errorf("REST after MQTT: %d %s", status, body)
	}
	if status, body := r.call(t, "GET", "/things/lamp-1/shadow", ""); status != 200 || !strings.Contains(body, `"big":9007199254740993`) {
		t.Errorf("AWS after MQTT: %d %s", status, body)
	}
	// REST in, MQTT out.
	if status, body := r.call(t, "PATCH", "/api/v1/twins/lamp-1/desired", `{"level":80}`); status != 200 || !strings.Contains(body, `"version":2`) {
		t.Errorf("PATCH: %d %s", status, body)
	}
	if got, want := d.next(t, lamp+"/accepted"), `{"desired":{"level":80}}`; got != want {
		t.Errorf("accepted after REST: %s, want %s", got, want)
	}
	if got, want := d.next(t, lamp+"/delta"), `{"level":80}`; got != want {
		t.Errorf("delta after REST: %s, want %s", got, want)
	}
	// AWS in, MQTT and REST out.
	if status, body := r.call(t, "POST", "/things/lamp-1/shadow", `{"state":{"desired":{"level":90}}}`); status != 200 {
		t.Errorf("POST: %d %s", status, body)
	}
	d.next(t, lamp+"/accepted")
	if got, want := d.next(t, lamp+"/delta"), `{"level":90}`; got != want {
		t.Errorf("delta after AWS: %s, want %s", got, want)
	}
	if status, body := r.call(t, "GET", "/api/v1/twins?limit=1", ""); status != 200 || !strings.Contains(body, `"delta":{"level":90}`) {
		t.Errorf("list: %d %s", status, body)
	}
	// A message by HTTP reaches MQTT.
	d.subscribe(t, "plant/hall-1")
	if status, body := r.call(t, "POST", "/topics/plant%2Fhall-1?qos=1", `{"state":1}`); status != 200 {
		t.Errorf("publish by HTTP: %d %s", status, body)
	}
	if got := d.next(t, "plant/hall-1"); got != "1" {
		t.Errorf("the message is %s", got)
	}
}

func TestDoors_websocket(t *testing.T) {
	r := start(t, config(t))
	d := connect(t, "ws://"+r.addr(t, "http")+"/mqtt", nil)
	d.subscribe(t, lamp+"/accepted")
	d.publish(t, lamp, `{"state":{"reported":{"on":true}}}`)
	if got := d.next(t, lamp+"/accepted"); got != `{"reported":{"on":true}}` {
		t.Errorf("accepted %s", got)
	}
}

// A page that http.origins lists may open a WebSocket, another may not.
func TestDoors_websocketOrigin(t *testing.T) {
	c := config(t)
	c.HTTP.Origins = []string{"http://localhost:3000"}
	r := start(t, c)
	for origin, want := range map[string]int{
		"http://localhost:3000": http.StatusSwitchingProtocols,
		"http://evil.example":   http.StatusForbidden,
	} {
		req, err := http.NewRequest(http.MethodGet, "http://"+r.addr(t, "http")+"/mqtt", nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{
			"Origin": origin, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
			"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "mqtt",
		} {
			req.Header.Set(k, v)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != want {
			b, _ := io.ReadAll(res.Body)
			t.Errorf("%s: %d %s, want %d", origin, res.StatusCode, b, want)
		}
		_ = res.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestDoors_tls(t *testing.T) {
	pki := newPKI(t)
	c := config(t)
	c.MQTT.TLSListen, c.HTTP.TLSListen = "127.0.0.1:0", "127.0.0.1:0"
	c.TLS = server.TLSConfig{Cert: pki.certFile, Key: pki.keyFile, ClientCA: pki.caFile}
	r := start(t, c)
	with := func(change func(*tls.Config)) *tls.Config {
		conf := &tls.Config{RootCAs: pki.pool, Certificates: []tls.Certificate{pki.client}}
		change(conf)
		return conf
	}
	for name, conf := range map[string]*tls.Config{
		"AWS protocol":   with(func(c *tls.Config) { c.NextProtos = []string{"other", "x-amzn-mqtt-ca"} }),
		"other protocol": with(func(c *tls.Config) { c.NextProtos = []string{"mqtt"} }),
		"no protocol":    with(func(*tls.Config) {}),
		"TLS 1.2":        with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", r.addr(t, "mqtts"), conf)
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if name == "AWS protocol" {
				want = "x-amzn-mqtt-ca"
			}
			if got := conn.ConnectionState().NegotiatedProtocol; got != want {
				t.Errorf("protocol %q, want %q", got, want)
			}
			_ = conn.Close()
			connect(t, "ssl://"+r.addr(t, "mqtts"), conf).publish(t, lamp, `{"state":{"reported":{"on":true}}}`)
		})
	}
	for name, conf := range map[string]*tls.Config{
		"TLS 1.1":                      with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }),
		"no client certificate":        with(func(c *tls.Config) { c.Certificates = nil }),
		"certificate of somebody else": with(func(c *tls.Config) { c.Certificates = []tls.Certificate{pki.foreign} }),
	} {
		t.Run(name, func(t *testing.T) {
			if err := handshake(r.addr(t, "mqtts"), conf); err == nil {
				t.Error("is accepted")
			}
		})
	}
	connect(t, "wss://"+r.addr(t, "wss")+"/mqtt", with(func(*tls.Config) {})).publish(t, lamp, `{"state":{"reported":{"on":true}}}`)
	for _, protocols := range [][]string{nil, {"h2", "http/1.1"}, {"x-amzn-http-ca"}, {"other"}} {
		tr := &http.Transport{TLSClientConfig: with(func(c *tls.Config) { c.NextProtos = protocols }), ForceAttemptHTTP2: len(protocols) > 1}
		res, err := (&http.Client{Transport: tr}).Get("https://" + r.addr(t, "wss") + "/twins/lamp-1")
		if err != nil {
			t.Errorf("https offering %q: %v", protocols, err)
			continue
		}
		if res.StatusCode != 200 {
			t.Errorf("https offering %q: %s", protocols, res.Status)
		}
		_ = res.Body.Close()
		tr.CloseIdleConnections()
	}
}

// handshake completes a handshake and reads one byte, since a TLS 1.3 server
// refuses a certificate only after the client thinks it is done.
func handshake(addr string, conf *tls.Config) error {
	conn, err := tls.Dial("tcp", addr, conf)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	// A server that accepts the client waits for CONNECT, and answers a packet that
	// is none by closing the connection.
	if _, err := conn.Write([]byte{0xC0, 0}); err != nil {
		return err
	}
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		return err
	}
	return nil
}

func TestDoors_optionalClientCertificate(t *testing.T) {
	pki := newPKI(t)
	c := config(t)
	c.MQTT.TLSListen = "127.0.0.1:0"
	c.TLS = server.TLSConfig{Cert: pki.certFile, Key: pki.keyFile, ClientCA: pki.caFile, ClientCert: "optional"}
	r := start(t, c)
	if err := handshake(r.addr(t, "mqtts"), &tls.Config{RootCAs: pki.pool}); err != nil {
		t.Errorf("without a certificate: %v", err)
	}
	if err := handshake(r.addr(t, "mqtts"), &tls.Config{RootCAs: pki.pool, Certificates: []tls.Certificate{pki.foreign}}); err == nil {
		t.Error("a certificate of somebody else is accepted")
	}
}

func TestOpen_badCertificates(t *testing.T) {
	pki := newPKI(t)
	for want, conf := range map[string]server.TLSConfig{
		"check --tls-cert and --tls-key": {Cert: pki.caFile, Key: pki.keyFile},
		"check --client-ca":              {Cert: pki.certFile, Key: pki.keyFile, ClientCA: pki.keyFile},
	} {
		c := config(t)
		c.MQTT.TLSListen, c.TLS = "127.0.0.1:0", conf
		if got := refusal(t, c).Error(); !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
}
