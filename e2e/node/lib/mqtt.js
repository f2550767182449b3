// MQTT.js with promises, and everything that arrives in an inbox.

import mqtt from 'mqtt';
import { Inbox, within } from './check.js';
import { pem } from './server.js';

const connectMS = 10_000;

let count = 0;

/**
 * connect connects a client that does not reconnect by itself. The certificate of
 * the test device goes along on TLS.
 */
export async function connect(url, options = {}) {
  const c = open(url, { reconnectPeriod: 0, ...options });
  await c.connected(url);
  return c;
}

/** open is connect without waiting. */
export function open(url, options = {}) {
  const tls = /^(mqtts|wss):/.test(url) ? { ca: pem('ca.pem'), cert: pem('device.pem'), key: pem('device.key') } : {};
  // A local address needs no name; localhost is what the certificate says.
  const at = tls.ca ? url.replace('127.0.0.1', 'localhost') : url;
  return new Client(mqtt.connect(at, {
    clientId: `mqttjs-${process.pid}-${count++}`, protocolVersion: 5, clean: true, connectTimeout: connectMS, ...tls, ...options,
  }));
}

export class Client {
  inbox = new Inbox();
  connacks = new Inbox();
  closes = new Inbox();

  constructor(raw) {
    this.raw = raw;
    raw.on('error', (err) => { this.error = err; });
    raw.on('connect', (connack) => this.connacks.put(connack));
    raw.on('close', () => this.closes.put('close'));
    raw.on('disconnect', (packet) => { this.disconnect = packet; });
    raw.on('message', (topic, payload, packet) => this.inbox.put({ topic, payload, packet, toString: () => `${topic} ${payload}` }));
  }

  /** connected resolves to the next CONNACK. */
  async connected(what = 'the server') {
    const failed = new Promise((_, reject) => {
      this.raw.once('error', reject);
    });
    failed.catch(() => {}); // later errors are kept in this.error
    return Promise.race([this.connacks.take(`connection to ${what}`), failed]);
  }

  async subscribe(topics, options = {}) {
    const granted = await within(10_000, `SUBACK for ${topics}`, this.raw.subscribeAsync(topics, { qos: 1, ...options }));
    for (const g of granted) if (g.qos > 2) throw new Error(`subscription ${g.topic} was refused with ${g.qos}`);
    return granted;
  }

  unsubscribe(topics) { return within(10_000, `UNSUBACK for ${topics}`, this.raw.unsubscribeAsync(topics)); }

  publish(topic, payload, options = {}) {
    const body = typeof payload === 'string' || Buffer.isBuffer(payload) ? payload : JSON.stringify(payload);
    return within(10_000, `PUBACK for ${topic}`, this.raw.publishAsync(topic, body, { qos: 1, ...options }));
  }

  end() { return within(10_000, 'end', this.raw.endAsync()); }

  /** cut drops the connection without DISCONNECT. */
  cut() { return within(10_000, 'cut', this.raw.endAsync(true)); }
}
