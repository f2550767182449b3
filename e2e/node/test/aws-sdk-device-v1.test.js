// aws-iot-device-sdk (v1) `thingShadow`, unchanged: over mutual TLS, and over
// WebSocket with a presigned address. Sections 9 and 10 of the contract.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import awsIot from 'aws-iot-device-sdk';
import { Inbox, within } from '../lib/check.js';
import { Server, file, pem } from '../lib/server.js';

let server;
before(async () => { server = await Server.start({ clientCert: 'optional' }); });
after(() => server.stop());

const ways = {
  'mutual TLS': (clientId) => ({
    clientId, host: 'localhost', port: server.port('mqtts'), protocol: 'mqtts',
    caPath: file('ca.pem'), certPath: file('device.pem'), keyPath: file('device.key'),
  }),
  wss: (clientId) => ({
    clientId, host: 'localhost', port: server.port('wss'), protocol: 'wss', region: 'us-east-1',
    accessKeyId: 'AKIDEXAMPLE', secretKey: 'not-a-secret', sessionToken: 'a/token+',
    websocketOptions: { ca: pem('ca.pem') },
  }),
};

/** Thing is a thingShadow with its events in inboxes. */
class Thing {
  static async connect(options, name, register = {}) {
    const t = new Thing();
    t.name = name;
    t.raw = awsIot.thingShadow({ baseReconnectTimeMs: 200, minimumConnectionTimeMs: 1000, maximumReconnectTimeMs: 1000, ...options }, { operationTimeout: 8000 });
    t.connects = new Inbox();
    t.status = new Inbox();
    t.deltas = new Inbox();
    t.foreign = new Inbox();
    t.raw.on('error', (err) => { t.error = err; });
    t.raw.on('connect', () => t.connects.put('connect'));
    t.raw.on('timeout', (thing, token) => t.status.put({ stat: 'timeout', token }));
    t.raw.on('status', (thing, stat, token, state) => t.status.put({ stat, token, state }));
    t.raw.on('delta', (thing, state) => t.deltas.put(state));
    t.raw.on('foreignStateChange', (thing, operation, state) => t.foreign.put({ operation, state }));
    await t.connects.take('connection');
    await t.register(register);
    return t;
  }

  register(options) {
    return within(10_000, 'register', new Promise((resolve, reject) => {
      this.raw.register(this.name, options, (err, failed) => (err || failed ? reject(new Error(`${err}: ${JSON.stringify(failed)}`)) : resolve()));
    }));
  }

  /** do starts an operation and waits for its status. */
  async do(operation, ...args) {
    const token = this.raw[operation](this.name, ...args);
    assert.ok(token, `${operation} was started`);
    const s = await this.status.take(`status of ${operation}`, (x) => x.token === token);
    return { stat: s.stat, state: s.state };
  }

  end() { return within(10_000, 'end', new Promise((resolve) => { this.raw.end(false, resolve); })); }
}

const http = async (thing, method, body) => {
  const answer = await fetch(`${server.http}/things/${thing}/shadow`, { method, body: body && JSON.stringify(body) });
  return { code: answer.status, body: await answer.json() };
};

for (const [way, options] of Object.entries(ways)) {
  const id = way.replace(' ', '-');

  test(`v1 over ${way}: update, get, delta, delete`, async () => {
    const thing = await Thing.connect(options(`v1-${id}`), `v1-${id}`);
    assert.deepEqual(await thing.do('get'), { stat: 'rejected', state: { code: 404, message: `No shadow exists with name: 'v1-${id}'` } });
    const first = await thing.do('update', { state: { reported: { color: 'red' } } });
    assert.equal(first.stat, 'accepted');
    assert.deepEqual([first.state.state, first.state.version], [{ reported: { color: 'red' } }, 1]);
    // From here on the SDK sends the version by itself.
    const second = await thing.do('update', { state: { desired: { color: 'green' }, reported: { on: true } } });
    assert.deepEqual([second.stat, second.state.version], ['accepted', 2]);
    const delta = await thing.deltas.take('delta');
    assert.deepEqual([delta.version, delta.state], [2, { color: 'green' }]);
    const got = await thing.do('get');
    assert.deepEqual([got.stat, got.state.version, got.state.state],
      ['accepted', 2, { desired: { color: 'green' }, reported: { color: 'red', on: true }, delta: { color: 'green' } }]);
    assert.deepEqual((await thing.do('update', { state: { reported: { color: 'green' } } })).stat, 'accepted');
    assert.deepEqual(thing.deltas.rest, [], 'no delta when it is as asked');
    assert.deepEqual((await thing.do('update', { state: { foo: {} } })).state, { code: 400, message: "State contains an invalid node: 'foo'" });
    const gone = await thing.do('delete');
    assert.deepEqual([gone.stat, gone.state.version], ['accepted', 3]);
    assert.deepEqual(thing.foreign.rest, [], 'its own changes are not foreign');
    await thing.end();
  });

  test(`v1 over ${way}: changes of others are foreignStateChange`, async () => {
    const name = `v1-foreign-${id}`;
    const thing = await Thing.connect(options(`${name}-a`), name);
    const other = await Thing.connect(options(`${name}-b`), name, { qos: 1, persistentSubscribe: false });
    await other.do('update', { state: { reported: { by: 'mqtt' } } });
    const a = await thing.foreign.take('the MQTT update');
    assert.deepEqual([a.operation, a.state.state, a.state.version], ['update', { reported: { by: 'mqtt' } }, 1]);
    await http(name, 'POST', { state: { desired: { by: 'http' } } });
    const b = await thing.foreign.take('the HTTP update');
    assert.deepEqual([b.operation, b.state.state, b.state.version], ['update', { desired: { by: 'http' } }, 2]);
    assert.deepEqual((await thing.deltas.take('delta')).state, { by: 'http' });
    assert.equal((await http(name, 'DELETE')).body.version, 2);
    const c = await thing.foreign.take('the HTTP delete');
    assert.deepEqual([c.operation, c.state.version], ['delete', 2]);
    // What the SDK saw last was deleted, so its own version is a conflict.
    assert.deepEqual((await thing.do('update', { state: { reported: { again: 1 } } })).state, { code: 409, message: 'Version conflict' });
    await Promise.all([thing.end(), other.end()]);
  });

  test(`v1 over ${way}: reconnect with delta, through kill -9`, async () => {
    const name = `v1-reconnect-${id}`;
    const thing = await Thing.connect(options(name), name, { qos: 1 });
    assert.equal((await thing.do('update', { state: { reported: { level: 1 } } })).stat, 'accepted');
    await server.kill();
    await server.start();
    await http(name, 'POST', { state: { desired: { level: 9 } } });
    await thing.connects.take('the second connection', undefined, 15_000);
    const got = await thing.do('get');
    assert.deepEqual([got.stat, got.state.version, got.state.state.delta], ['accepted', 2, { level: 9 }]);
    assert.equal((await thing.do('update', { state: { reported: { level: 9 } } })).stat, 'accepted');
    // The SDK has subscribed again by itself, one topic a packet.
    await http(name, 'POST', { state: { desired: { level: 10 } } });
    assert.deepEqual((await thing.deltas.take('the live delta', (d) => d.version === 4)).state, { level: 10 });
    await thing.end();
  });

  test(`v1 over ${way}: plain messages beside shadows`, async () => {
    const device = awsIot.device(options(`v1-device-${id}`));
    const inbox = new Inbox();
    device.on('error', () => {});
    device.on('message', (topic, payload) => inbox.put(`${topic} ${payload}`));
    await within(10_000, 'connection', new Promise((resolve) => { device.on('connect', resolve); }));
    await within(10_000, 'subscription', new Promise((resolve, reject) => {
      device.subscribe('v1/+', { qos: 1 }, (err, granted) => (err ? reject(err) : resolve(granted)));
    }));
    device.publish('v1/hello', 'world', { qos: 1 });
    assert.equal(await inbox.take('the message'), 'v1/hello world');
    await within(10_000, 'end', new Promise((resolve) => { device.end(false, resolve); }));
  });
}
