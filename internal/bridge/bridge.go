// Package bridge connects an external MQTT broker: what it sends is taken as if a device had
// sent it here, and what is sent here to the devices behind it goes back.
//
// A message is acknowledged to the external broker only when it is committed here, and one
// that goes back leaves our queue only when the external broker has acknowledged it: both
// ways are at least once, also through a kill of either side.
package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/twofold-iot/twofold/twin"
)

// Options of a bridge.
type Options struct {
	URL      string // mqtt://host:port or mqtts://host:port
	ClientID string // at the external broker, and of the session here
	Username string
	Password string
	TLS      *tls.Config // of mqtts; nil: that of the system
	// Topics are filters at the external broker, $share/group/ may stand before them.
	Topics []string
	// Back are filters here: what they match is published to the external broker.
	Back []string
	// Accept takes a message; done is called when it is committed, or refused.
	Accept func(p *twin.Publish, done func(error))
	// Dial connects to the broker here.
	Dial func() (net.Conn, error)
}

// FiltersMax is the most filters of one direction.
const FiltersMax = 100

const (
	retryFirst    = 100 * time.Millisecond
	retryMost     = 5 * time.Second
	reconnectMost = 30 * time.Second
	quiesce       = 250 // ms to end a connection in order
)

// Check says what is wrong with the options.
func (o *Options) Check() error {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "mqtt" && u.Scheme != "mqtts":
		return fmt.Errorf("%q is not an address such as mqtt://broker:1883 or mqtts://broker:8883", o.URL)
	case u.User != nil || u.Path != "":
		return errors.New("the address has more than host and port; user and password are settings of their own")
	case o.ClientID == "":
		return errors.New("the client id is empty")
	case len(o.Topics) == 0:
		return errors.New("no topics are subscribed")
	case len(o.Topics) > FiltersMax || len(o.Back) > FiltersMax:
		return fmt.Errorf("more than %d topics", FiltersMax)
	}
	for _, in := range o.Topics {
		filter, ok := unshared(in)
		if !ok || !validFilter(filter) {
			return fmt.Errorf("%q is no topic filter", in)
		}
		for _, back := range o.Back {
			if overlap(filter, back) {
				return fmt.Errorf("%q would bring back what %q sends: a loop", in, back)
			}
		}
	}
	for _, back := range o.Back {
		if !validFilter(back) {
			return fmt.Errorf("%q is no topic filter", back)
		}
	}
	return nil
}

// Bridge is a bridge that runs until Close.
type Bridge struct {
	log  *slog.Logger
	opts Options
	ext  mqtt.Client
	here mqtt.Client

	ctx     context.Context //nolint:containedctx // it ends what Close waits for
	stop    context.CancelFunc
	waiting sync.WaitGroup
}

// Open begins to connect, and goes on until it can.
func Open(log *slog.Logger, o Options) (*Bridge, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	b := &Bridge{log: log.With("bridge", o.URL), opts: o}
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.ext = mqtt.NewClient(b.external())
	b.here = mqtt.NewClient(b.local())
	b.ext.Connect() // it tries until it can
	if len(o.Back) > 0 {
		b.here.Connect()
	}
	return b, nil
}

// Close ends both connections. What was not acknowledged comes again after the next Open.
func (b *Bridge) Close() {
	b.stop()
	b.here.Disconnect(quiesce)
	b.ext.Disconnect(quiesce)
	b.waiting.Wait()
}

// options are those of both sides: a session that stays, and acknowledgements by us.
func (b *Bridge) options() *mqtt.ClientOptions {
	return mqtt.NewClientOptions().SetClientID(b.opts.ClientID).SetCleanSession(false).SetAutoAckDisabled(true).
		SetAutoReconnect(true).SetConnectRetry(true).SetConnectRetryInterval(time.Second).SetMaxReconnectInterval(reconnectMost).
		SetProtocolVersion(4)
}

func (b *Bridge) external() *mqtt.ClientOptions {
	o := b.options().AddBroker(b.opts.URL).SetUsername(b.opts.Username).SetPassword(b.opts.Password).SetDefaultPublishHandler(b.come)
	if b.opts.TLS != nil {
		o.SetTLSConfig(b.opts.TLS)
	}
	return o.SetOnConnectHandler(func(c mqtt.Client) {
		b.log.Info("bridge connected")
		b.subscribe(c, b.opts.Topics)
	}).SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		b.log.Warn("bridge has lost its connection", "error", err.Error())
	})
}

func (b *Bridge) local() *mqtt.ClientOptions {
	return b.options().SetClientID(b.session()).AddBroker("mqtt://here:1").SetDefaultPublishHandler(b.back).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return b.opts.Dial() }).
		SetOnConnectHandler(func(c mqtt.Client) { b.subscribe(c, b.opts.Back) })
}

// session is the name of the bridge here. With a slash it is no name of a thing.
func (b *Bridge) session() string { return "bridge/" + b.opts.ClientID }

// subscribe asks for filters in QoS 1. A refusal is said; the others hold.
func (b *Bridge) subscribe(c mqtt.Client, filters []string) {
	wanted := make(map[string]byte, len(filters))
	for _, f := range filters {
		wanted[f] = 1
	}
	token := c.SubscribeMultiple(wanted, nil)
	b.waiting.Go(func() {
		select {
		case <-token.Done():
		case <-b.ctx.Done():
			return
		}
		if err := token.Error(); err != nil {
			b.log.Error("bridge could not subscribe", "error", err.Error())
			return
		}
		if t, ok := token.(*mqtt.SubscribeToken); ok {
			for filter, granted := range t.Result() {
				if granted > 2 {
					b.log.Error("bridge was refused a subscription", "filter", filter)
				}
			}
		}
	})
}

// come takes a message of the external broker.
func (b *Bridge) come(_ mqtt.Client, m mqtt.Message) {
	p := &twin.Publish{
		Message: twin.Message{Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos()},
		Origin:  twin.Origin{Door: twin.DoorMQTT, Session: b.session()},
	}
	b.accept(p, m, retryFirst)
}

// accept hands a message on and acknowledges it when it is committed. What is refused for
// good is acknowledged too: it would be refused again. What there was no room for is tried
// again after a while.
func (b *Bridge) accept(p *twin.Publish, m mqtt.Message, pause time.Duration) {
	b.opts.Accept(p, func(err error) {
		switch {
		case err == nil:
			m.Ack()
		case !again(err):
			b.log.Warn("a message of the bridge was refused", "topic", p.Topic, "error", err.Error())
			m.Ack()
		case b.ctx.Err() == nil:
			b.waiting.Go(func() {
				select {
				case <-time.After(pause):
					b.accept(p, m, min(2*pause, retryMost))
				case <-b.ctx.Done(): // it comes again
				}
			})
		}
	})
}

// again says that the same may be taken later.
func again(err error) bool {
	switch twin.Kind(err) {
	case twin.KindFull, twin.KindUnavailable, twin.KindInternal:
		return true
	}
	return false
}

// back publishes a message of ours to the external broker. Our queue keeps it until that has
// acknowledged it.
func (b *Bridge) back(_ mqtt.Client, m mqtt.Message) {
	token := b.ext.Publish(m.Topic(), 1, false, m.Payload())
	b.waiting.Go(func() {
		select {
		case <-token.Done():
			if token.Error() == nil {
				m.Ack()
			}
		case <-b.ctx.Done():
		}
	})
}
