package server

import (
	"math"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Config is all that can be set. [Default] fills it; every field has one entry in
// settings.
type Config struct {
	Data string // folder of the store

	HTTP      HTTPConfig
	MQTT      MQTTConfig
	TLS       TLSConfig
	Shadow    ShadowConfig
	Engine    EngineConfig
	Ingest    IngestConfig
	Telemetry TelemetryConfig
	Webhooks  WebhooksConfig
	Predict   PredictConfig
	Bridge    BridgeConfig
	Log       LogConfig
	Retention RetentionConfig
	StopTime  time.Duration // longest graceful stop
	// StorageBudget is how many bytes the data may take; zero: as much as there is.
	StorageBudget int64
}

// HTTPConfig is about the HTTP listener, which serves the REST API, the AWS data
// plane and MQTT over WebSocket.
type HTTPConfig struct {
	Listen         string
	TLSListen      string   // the same routes over TLS; empty: closed
	Hosts          []string // names accepted in Host beside loopback addresses and localhost
	Origins        []string // origins of web pages that may change things
	PublicURL      string   // address of this server as devices reach it, for URLs of artifacts; empty: that of the request
	HeaderTimeout  time.Duration
	IdleTimeout    time.Duration
	HeaderBytesMax int
}

// MQTTConfig is about the MQTT listeners.
type MQTTConfig struct {
	Listen           string
	TLSListen        string // empty: closed
	ConnsMax         int
	SessionsMax      int
	SessionExpiryMax time.Duration
	QueueLenMax      int // messages waiting in one session
}

// TLSConfig names the files of the TLS listeners.
type TLSConfig struct {
	Cert       string
	Key        string
	ClientCA   string // empty: client certificates are not asked for
	ClientCert string // "optional" or "required", with ClientCA; empty: required
}

// ShadowConfig holds the limits of a shadow.
type ShadowConfig struct {
	DocumentBytesMax int
	DepthMax         int
	InFlightMax      int // unanswered requests of one thing; 0: no limit
}

// EngineConfig bounds the write path.
type EngineConfig struct {
	QueueLenMax   int
	CacheBytesMax int64
}

// IngestConfig is about what a cloud sends.
type IngestConfig struct {
	// ConfirmDestinations: confirm destinations of AWS IoT rules without asking.
	ConfirmDestinations bool
}

// TelemetryConfig is about samples.
type TelemetryConfig struct {
	Topics   []string      // that carry telemetry too; see [device.ParsePattern]
	AheadMax time.Duration // how far ahead of the clock the time of a sample may be
	LateMax  time.Duration // how old a sample may be when it comes
}

// WebhooksConfig is about sending events to addresses.
type WebhooksConfig struct {
	Enabled      bool
	AllowPrivate []string // host names, addresses and networks that are not public and may be called
}

// PredictConfig is about what watches measurements.
type PredictConfig struct{ Enabled bool }

// LogConfig is about the log on standard error.
type LogConfig struct {
	Level  string
	Format string
}

// Default returns the configuration of `twofold serve` without flags.
func Default() Config {
	return Config{
		Data: "./twofold-data",
		HTTP: HTTPConfig{
			Listen:         "127.0.0.1:8080",
			HeaderTimeout:  5 * time.Second,
			IdleTimeout:    2 * time.Minute,
			HeaderBytesMax: 16 << 10,
		},
		MQTT: MQTTConfig{
			Listen:           "127.0.0.1:1883",
			ConnsMax:         1 << 16,
			SessionsMax:      200_000,
			SessionExpiryMax: 7 * 24 * time.Hour,
			QueueLenMax:      1000,
		},
		Shadow:    ShadowConfig{DocumentBytesMax: 8192, DepthMax: 8},
		Engine:    EngineConfig{QueueLenMax: 16384, CacheBytesMax: 64 << 20},
		Telemetry: TelemetryConfig{AheadMax: twin.TelemetryAheadDefault, LateMax: twin.TelemetryLateDefault},
		Retention: RetentionConfig{History: 90 * ageDay, Events: ageYear, Telemetry: 30 * ageDay, Rollups: 2 * ageYear},
		Predict:   PredictConfig{Enabled: true},
		Bridge:    BridgeConfig{ClientID: "twofold", Back: bridgeBack},
		Log:       LogConfig{Level: "info", Format: "text"},
		StopTime:  10 * time.Second,
	}
}

// setting ties a key of the file to a field. Its variable in the environment is
// [EnvName] of the key.
type setting struct {
	key   string
	flag  string // of `twofold serve`, without dashes; empty: none
	usage string
	value value
}

// settings lists every key with the field of c that it sets, in the order in which
// they are printed.
func (c *Config) settings() []setting {
	return []setting{
		{"data", "data", "`folder` of the store; made if it is not there", (*textValue)(&c.Data)},
		{"http.listen", "http", "`address` for HTTP: REST API, AWS data plane, MQTT over WebSocket; port 0 picks a free one", (*textValue)(&c.HTTP.Listen)},
		{"http.tls_listen", "wss", "`address` for the same over TLS (https, wss); empty: closed", (*textValue)(&c.HTTP.TLSListen)},
		{"http.hosts", "", "host names accepted in the Host header beside localhost and loopback addresses", (*listValue)(&c.HTTP.Hosts)},
		{"http.origins", "", "origins of web pages that may change things, such as http://localhost:3000", (*listValue)(&c.HTTP.Origins)},
		{"http.public_url", "", "address of this server as devices reach it, such as https://twofold.example.com, for the URLs of artifacts and in Thing Descriptions; empty: that of the request", (*textValue)(&c.HTTP.PublicURL)},
		{"http.header_timeout", "", "longest time for the headers of a request", durationValue{&c.HTTP.HeaderTimeout, 100 * time.Millisecond, time.Minute}},
		{"http.idle_timeout", "", "longest time between two requests on a connection", durationValue{&c.HTTP.IdleTimeout, time.Second, time.Hour}},
		{"http.header_bytes_max", "", "most bytes of request headers", intValue{&c.HTTP.HeaderBytesMax, 4 << 10, 1 << 20}},
		{"mqtt.listen", "mqtt", "`address` for MQTT; port 0 picks a free one", (*textValue)(&c.MQTT.Listen)},
		{"mqtt.tls_listen", "mqtts", "`address` for MQTT over TLS; empty: closed", (*textValue)(&c.MQTT.TLSListen)},
		{"mqtt.conns_max", "", "most MQTT connections, WebSocket included", intValue{&c.MQTT.ConnsMax, 1, 1 << 20}},
		{"mqtt.sessions_max", "", "most MQTT sessions, connected or not", intValue{&c.MQTT.SessionsMax, 1, 10_000_000}},
		{"mqtt.session_expiry_max", "", "longest life of a session without connection", durationValue{&c.MQTT.SessionExpiryMax, time.Second, 365 * 24 * time.Hour}},
		{"mqtt.queue_len_max", "", "most messages waiting in one session", intValue{&c.MQTT.QueueLenMax, 1, 1 << 20}},
		{"tls.cert", "tls-cert", "PEM `file` with the certificate (and chain) of the TLS listeners", (*textValue)(&c.TLS.Cert)},
		{"tls.key", "tls-key", "PEM `file` with its private key", (*textValue)(&c.TLS.Key)},
		{"tls.client_ca", "client-ca", "PEM `file` with the authorities that sign client certificates; empty: none are asked for", (*textValue)(&c.TLS.ClientCA)},
		{"tls.client_cert", "client-cert", "with tls.client_ca, client certificates are `optional|required`; empty: required", choiceValue{&c.TLS.ClientCert, []string{"optional", "required", ""}}},
		{"shadow.document_bytes_max", "", "most bytes of desired plus reported as compact JSON", intValue{&c.Shadow.DocumentBytesMax, 1 << 10, 64 << 10}},
		{"shadow.depth_max", "", "deepest nesting of a shadow, its section being level 1", intValue{&c.Shadow.DepthMax, 6, 32}},
		{"shadow.in_flight_max", "", "most unanswered requests of one thing by the AWS contract, which has 10; 0: no limit", intValue{&c.Shadow.InFlightMax, 0, 1 << 16}},
		{"engine.queue_len_max", "", "updates waiting for each committer before callers are told that the queue is full", intValue{&c.Engine.QueueLenMax, 16, 1 << 20}},
		{"engine.cache_bytes_max", "", "memory for cached shadows, in bytes or as 64MiB", bytesValue{&c.Engine.CacheBytesMax, 1 << 20, 1 << 40}},
		{"ingest.confirm_destinations", "", "confirm destinations of AWS IoT rules without asking; else the address that does is logged", (*boolValue)(&c.Ingest.ConfirmDestinations)},
		{"telemetry.topics", "", "topics that carry telemetry beside twins/{thing}/telemetry, such as dt/+/{thing}/#; {metric} may be a level too", (*listValue)(&c.Telemetry.Topics)},
		{"telemetry.ahead_max", "", "how far ahead of the clock the time of a sample may be", durationValue{&c.Telemetry.AheadMax, time.Second, 24 * time.Hour}},
		{"telemetry.late_max", "", "how old a sample may be when it comes", durationValue{&c.Telemetry.LateMax, time.Minute, 100 * 365 * 24 * time.Hour}},
		{"bridge.url", "", "an external MQTT broker whose messages are taken here, such as mqtt://broker:1883 or mqtts://broker:8883", (*textValue)(&c.Bridge.URL)},
		{"bridge.client_id", "", "name of the client there; its session stays", (*textValue)(&c.Bridge.ClientID)},
		{"bridge.username", "", "user there", (*textValue)(&c.Bridge.Username)},
		{"bridge.password_file", "", "file with the password there", (*textValue)(&c.Bridge.PasswordFile)},
		{"bridge.ca", "", "authorities (PEM) that sign the certificate of the broker; empty: those of the system", (*textValue)(&c.Bridge.CA)},
		{"bridge.topics", "", "topic filters that are subscribed there, such as $share/twofold/twins/#", (*listValue)(&c.Bridge.Topics)},
		{"bridge.back", "", "topic filters here whose messages are published there", (*listValue)(&c.Bridge.Back)},
		{"predict.enabled", "", "watch the measurements of twins: anomaly scores and dates of failure", (*boolValue)(&c.Predict.Enabled)},
		{"webhooks.enabled", "", "let webhooks be made and send them events", (*boolValue)(&c.Webhooks.Enabled)},
		{"webhooks.allow_private", "", "host names, addresses and networks such as 10.1.0.0/16 that webhooks may call though they are not public", (*listValue)(&c.Webhooks.AllowPrivate)},
		{"log.level", "log-level", "least level that is logged: `debug|info|warn|error`", choiceValue{&c.Log.Level, []string{"debug", "info", "warn", "error"}}},
		{"log.format", "log-format", "log lines as `text|json`", choiceValue{&c.Log.Format, []string{"text", "json"}}},
		{"retention.history", "", "how long past states are kept, in days or years: 90d, 1y, forever", ageValue{&c.Retention.History}},
		{"retention.events", "", "how long all other events are kept", ageValue{&c.Retention.Events}},
		{"retention.telemetry", "", "how long samples are kept", ageValue{&c.Retention.Telemetry}},
		{"retention.rollups", "", "how long what samples come to in a minute, an hour and a day is kept", ageValue{&c.Retention.Rollups}},
		{"retention.metrics", "", "metrics whose samples and rollups are kept for a time of their own, the first that fits: vibration.* 7d 1y, or of a model pump:vibration.* 7d 1y", (*listValue)(&c.Retention.Metrics)},
		{"storage.budget", "", "bytes that the data may take before the oldest telemetry, then the oldest history goes, such as 20GB; 0: as much as there is", bytesValue{&c.StorageBudget, 0, math.MaxInt64}},
		{"stop_timeout", "", "longest graceful stop", durationValue{&c.StopTime, 100 * time.Millisecond, time.Minute}},
	}
}

// EnvName returns the environment variable of a key: http.listen is
// TWOFOLD_HTTP_LISTEN.
func EnvName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

const envPrefix = "TWOFOLD_"

// Flag describes a command-line flag that sets a key.
type Flag struct {
	Name, Key, Usage, Default string
}

// Flags lists the flags of `twofold serve`.
func Flags() []Flag {
	c := Default()
	var fs []Flag
	for _, s := range c.settings() {
		if s.flag != "" {
			fs = append(fs, Flag{Name: s.flag, Key: s.key, Usage: s.usage, Default: s.value.String()})
		}
	}
	return fs
}
