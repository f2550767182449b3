package mqtt

import (
	"errors"
	"fmt"
	"time"
)

// Options tune a [Broker]; the zero value of a field means the default given.
type Options struct {
	Handler  Handler  // takes the reserved topics; nil: every topic that begins with "$" is refused
	Presence Presence // hears who is there; may be nil
	// Taken hears of each message that a client has: its PUBACK came, or it was sent with QoS 0.
	// It must not block, nor keep the payload. May be nil.
	Taken   func(client, topic string, payload []byte)
	Records Records // keeps sessions and retained messages; nil: they end with the process

	Now func() time.Time // the clock; time.Now

	PacketBytesMax     int           // longest packet taken from a client: 132 KiB, 128 KiB of payload and a header
	ConnectBytesMax    int           // longest CONNECT, which comes from anybody: 16 KiB
	ConnectTimeout     time.Duration // until CONNECT is there, TLS handshake included: 10 s
	WriteTimeout       time.Duration // a socket that takes no byte for so long is closed: 20 s
	CloseTimeout       time.Duration // for the last bytes to a client that is being closed: 2 s
	ConnsMax           int           // connections, those without CONNECT included: 65,536
	SessionsMax        int           // sessions, connected or not: 200,000
	SessionExpiryMax   time.Duration // how long a session without connection is kept at most, and in 3.1.1 always: 7 days
	SubscriptionsMax   int           // of one session: 10,000
	InFlightMax        int           // QoS 1 publishes of one client without PUBACK; more are not read (v5: Receive Maximum): 1,024
	OutFlightMax       int           // QoS 1 publishes to one client without PUBACK: 128
	OutBytesMax        int           // bytes waiting for one socket; above it QoS 0 is dropped and QoS 1 stays queued: 256 KiB
	QueueLenMax        int           // QoS 1 messages waiting in one session: 1,000
	QueueBytesMax      int           // bytes of them: 8 MiB
	QueueTotalBytesMax int64         // bytes waiting in all sessions together: 256 MiB
	RetainedMax        int           // retained messages: 100,000
	RetainedBytesMax   int64         // bytes of them: 128 MiB
	TopicAliasMax      int           // topic aliases of one v5 client: 32
}

// fill returns o with defaults.
func (o Options) fill() Options {
	def(&o.PacketBytesMax, 132<<10)
	def(&o.ConnectBytesMax, 16<<10)
	def(&o.ConnectTimeout, 10*time.Second)
	def(&o.WriteTimeout, 20*time.Second)
	def(&o.CloseTimeout, 2*time.Second)
	def(&o.ConnsMax, 1<<16)
	def(&o.SessionsMax, 200_000)
	def(&o.SessionExpiryMax, 7*24*time.Hour)
	def(&o.SubscriptionsMax, 10_000)
	def(&o.InFlightMax, 1024)
	def(&o.OutFlightMax, 128)
	def(&o.OutBytesMax, 256<<10)
	def(&o.QueueLenMax, 1000)
	def(&o.QueueBytesMax, 8<<20)
	def(&o.QueueTotalBytesMax, 256<<20)
	def(&o.RetainedMax, 100_000)
	def(&o.RetainedBytesMax, 128<<20)
	def(&o.TopicAliasMax, 32)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate names all faults of the options at once.
func (o Options) Validate() error {
	o = o.fill()
	var errs []error
	between := func(name string, v, lo, hi int) {
		if v < lo || v > hi {
			errs = append(errs, fmt.Errorf("%s is %d, must be between %d and %d", name, v, lo, hi))
		}
	}
	between("PacketBytesMax", o.PacketBytesMax, 128, 1<<28)
	between("ConnectBytesMax", o.ConnectBytesMax, 128, 1<<20)
	between("InFlightMax", o.InFlightMax, 1, 65535)
	between("OutFlightMax", o.OutFlightMax, 1, 65534)
	between("OutBytesMax", o.OutBytesMax, 1<<10, 1<<30)
	between("TopicAliasMax", o.TopicAliasMax, 1, 65535)
	between("QueueLenMax", o.QueueLenMax, 1, 1<<24)
	if o.SessionExpiryMax < time.Second {
		errs = append(errs, errors.New("SessionExpiryMax is below one second"))
	}
	return errors.Join(errs...)
}
