package mqtt

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/twofold-iot/twofold/internal/door/mqtt/packet"
	"github.com/twofold-iot/twofold/twin"
)

// clientIDBytesMax is the longest client id taken; AWS allows 128.
const clientIDBytesMax = 512

// refused is a CONNECT that is answered with a code.
type refused struct{ reason packet.Reason }

func (r refused) Error() string {
	return fmt.Sprintf("connection refused with reason 0x%02x", byte(r.reason))
}

// connect handles CONNECT. User name and password are not looked at yet; a user
// name "?SDK=…", as the AWS SDKs send it, is as good as any.
func (c *conn) connect(body []byte) error {
	p, err := packet.DecodeConnect(body)
	if err != nil {
		return c.badConnect(p, err)
	}
	c.mu.Lock()
	c.version = p.Version
	c.mu.Unlock()
	id, assigned, err := clientID(p)
	if err == nil {
		err = c.checkWill(p)
	}
	if err == nil && p.Properties.Has(packet.AuthMethod) {
		err = refused{packet.BadAuthMethod} // [MQTT-4.12.0-1]
	}
	if err != nil {
		return c.refuse(err)
	}
	expiry := c.b.sessionExpiry(p)
	at, err := c.b.attach(c, id, p.CleanStart, expiry)
	if err != nil {
		return c.refuse(err)
	}
	if err := c.await(at.durable); err != nil {
		// The session could not be recorded, so the client is not told that it is
		// there.
		return c.refuse(refused{connectReason(err)})
	}
	ack := &packet.Connack{SessionPresent: at.present}
	if p.Version == packet.V5 {
		c.announce(p, ack, id, assigned, expiry)
	}
	c.tune(p)
	c.mayRepeat = at.present
	return c.welcome(at.s, ack, willOf(p))
}

// welcome sends CONNACK [MQTT-3.2.0-1] and then what the session has waiting.
func (c *conn) welcome(s *session, ack *packet.Connack, w *will) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return errStopped // taken over in the meantime
	}
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return errStopped
	}
	c.out = packet.AppendConnack(c.out, c.version, ack)
	c.accepted = true
	c.mu.Unlock()
	c.b.count.connects.Add(1)
	c.will = w // [MQTT-3.1.2-7], now that the connection is accepted
	s.online = true
	s.pumpLocked()
	return nil
}

// tune takes over what CONNECT says about the connection.
func (c *conn) tune(p *packet.Connect) {
	c.outFlightMax = c.b.opts.OutFlightMax
	c.packetSizeMax = int(p.Properties.Uint(packet.MaximumPacketSize, 0))
	c.outFlightMax = min(c.outFlightMax, int(p.Properties.Uint(packet.ReceiveMaximum, 65535)))
	c.keepAlive = time.Duration(p.KeepAlive) * time.Second
	if c.keepAlive == 0 {
		_ = c.nc.SetReadDeadline(time.Time{}) // a closed socket shows at the read
	}
}

// announce fills the properties of a v5 CONNACK.
func (c *conn) announce(p *packet.Connect, ack *packet.Connack, id string, assigned bool, expiry time.Duration) {
	o, pr := &c.b.opts, &ack.Properties
	pr.SetUint(packet.ReceiveMaximum, uint32(o.InFlightMax))
	pr.SetUint(packet.MaximumQoS, 1)
	pr.SetUint(packet.MaximumPacketSize, uint32(o.PacketBytesMax))
	pr.SetUint(packet.TopicAliasMaximum, uint32(o.TopicAliasMax))
	pr.SetUint(packet.SharedSubAvailable, 0)
	if assigned {
		pr.SetBytes(packet.AssignedClientID, []byte(id)) // [MQTT-3.2.2-16]
	}
	if s := uint32(expiry / time.Second); s != p.Properties.Uint(packet.SessionExpiry, 0) {
		pr.SetUint(packet.SessionExpiry, s)
	}
}

// badConnect answers a CONNECT that could not be read.
func (c *conn) badConnect(p *packet.Connect, err error) error {
	var e *packet.Error
	if p == nil || !errors.As(err, &e) {
		return err
	}
	c.mu.Lock()
	c.version = packet.V311
	if p.Version >= packet.V5 {
		c.version = packet.V5
	}
	c.mu.Unlock()
	if c.version == packet.V5 || e.Reason == packet.UnsupportedVersion {
		_ = c.refuse(refused{e.Reason}) // err is what is returned
	}
	return err
}

// refuse sends a CONNACK with the code, which ends the connection
// [MQTT-3.2.2-7].
func (c *conn) refuse(err error) error {
	var r refused
	if !errors.As(err, &r) {
		return err
	}
	code := byte(r.reason)
	if c.version != packet.V5 {
		if code = returnCode(r.reason); code == 0 {
			return err
		}
	}
	c.send(func(dst []byte) []byte {
		return packet.AppendConnack(dst, c.version, &packet.Connack{Code: code})
	})
	return err
}

// returnCode maps to the return codes of 3.1.1, its table 3.1; 0: none fits, the
// connection is closed without.
func returnCode(r packet.Reason) byte {
	switch r {
	case packet.UnsupportedVersion:
		return 1
	case packet.ClientIDNotValid:
		return 2
	case packet.ServerUnavailable, packet.ServerBusy, packet.ServerShuttingDown, packet.QuotaExceeded:
		return 3
	case packet.NotAuthorized, packet.RetainNotSupported:
		return 5
	}
	return 0
}

func connectReason(err error) packet.Reason {
	if twin.Kind(err) == twin.KindFull {
		return packet.QuotaExceeded
	}
	return packet.ServerUnavailable
}

// clientID returns the client id; an empty one is replaced [MQTT-3.1.3-6].
func clientID(p *packet.Connect) (id string, assigned bool, err error) {
	switch {
	case len(p.ClientID) == 0 && p.Version == packet.V311 && !p.CleanStart:
		return "", false, refused{packet.ClientIDNotValid} // 3.1.1: [MQTT-3.1.3-8]
	case len(p.ClientID) == 0:
		return "auto-" + rand.Text(), true, nil
	case len(p.ClientID) > clientIDBytesMax, hasControl(p.ClientID):
		return "", false, refused{packet.ClientIDNotValid} // [MQTT-3.1.3-8]
	}
	return string(p.ClientID), false, nil
}

func hasControl(s []byte) bool {
	return bytes.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r <= 0x9f })
}

// sessionExpiry is how long the session outlives the connection.
func (b *Broker) sessionExpiry(p *packet.Connect) time.Duration {
	if p.Version != packet.V5 {
		if p.CleanStart {
			return 0
		}
		return b.opts.SessionExpiryMax
	}
	return b.capExpiry(p.Properties.Uint(packet.SessionExpiry, 0))
}

func (b *Broker) capExpiry(seconds uint32) time.Duration {
	return min(time.Duration(seconds)*time.Second, b.opts.SessionExpiryMax)
}

// checkWill refuses a will that the client could not publish itself. One on a
// request topic is allowed: it reaches plain subscribers, and the service behind
// ignores it.
func (c *conn) checkWill(p *packet.Connect) error {
	w := p.Will
	switch {
	case w == nil:
		return nil
	case w.QoS > 1 && p.Version == packet.V5:
		return refused{packet.QoSNotSupported} // [MQTT-3.2.2-12]
	case w.Retain && w.Topic[0] == '$':
		return refused{packet.RetainNotSupported}
	}
	if err := c.b.allow(string(w.Topic), w.Retain); err != nil {
		c.b.count.denied.Add(1)
		return refused{packet.NotAuthorized}
	}
	return nil
}

func willOf(p *packet.Connect) *will {
	if p.Will == nil {
		return nil
	}
	return &will{
		msg: twin.Message{
			Topic: string(p.Will.Topic), Payload: bytes.Clone(p.Will.Payload),
			// 3.1.1 may ask for QoS 2; nobody is granted more than 1.
			QoS: min(p.Will.QoS, 1), Retain: p.Will.Retain,
			Properties: messageProperties(&p.Will.Properties),
		},
		delay: time.Duration(p.Will.Properties.Uint(packet.WillDelay, 0)) * time.Second,
	}
}

// await waits for records. Only the reader calls it: a client whose session or
// subscription is being recorded is not read meanwhile.
func (c *conn) await(durable <-chan error) error {
	select {
	case err := <-durable:
		return err
	default:
	}
	c.mu.Lock()
	c.corked = false
	c.kickLocked()
	c.mu.Unlock()
	err := <-durable
	c.mu.Lock()
	c.corked = true
	c.mu.Unlock()
	return err
}

// disconnect handles DISCONNECT. What it changes is changed at once, as another
// connection of the client may take the session over before this one has ended.
func (c *conn) disconnect(body []byte) error {
	p, err := packet.DecodeDisconnect(body, packet.DISCONNECT, c.version)
	if err != nil {
		return err
	}
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return errGoodbye
	}
	if p.Properties.Has(packet.SessionExpiry) {
		expiry := c.b.capExpiry(p.Properties.Uint(packet.SessionExpiry, 0))
		if s.expiry == 0 && expiry > 0 {
			return &packet.Error{Reason: packet.ProtocolError, Rule: "3.14.2.2.2", Text: "DISCONNECT sets a session expiry that CONNECT had at 0"}
		}
		s.expiry = expiry
	}
	if p.Reason != packet.DisconnectWithWill {
		c.will = nil // [MQTT-3.14.4-3]
	}
	return errGoodbye
}
