// The shadow contract under MQTT.js, as 3.1.1 and as 5, over TCP, TLS and
// WebSocket. Sections 2 to 7 of the contract.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { connect } from '../lib/mqtt.js';
import { json, same } from '../lib/check.js';
import { rejections } from '../lib/rejections.js';
import { Server, pem } from '../lib/server.js';

let server;
before(async () => { server = await Server.start(); });
after(() => server.stop());

let things = 0;
const newThing = () => `mqttjs-${things++}`;
const shadow = (thing, name) => `$aws/things/${thing}/shadow${name === undefined ? '' : `/name/${name}`}`;

/** Device is a client with all answers of one shadow subscribed. */
class Device {
  static async connect(url, options, thing, name) {
    const d = new Device();
    d.client = await connect(url, options);
    d.p = shadow(thing, name);
    // The exact topics of the SDKs and the wildcards of the request/response client.
    await d.client.subscribe([`${d.p}/get/+`, `${d.p}/delete/+`, `${d.p}/update/accepted`, `${d.p}/update/rejected`,
      `${d.p}/update/delta`, `${d.p}/update/documents`]);
    return d;
  }

  send(what, body = '') { return this.client.publish(`${this.p}/${what}`, body); }

  /** answer asserts the next message on a topic, times aside. */
  async answer(topic, want) {
    const m = await this.client.inbox.take(topic, (x) => x.topic === `${this.p}/${topic}`);
    same(m.payload, want, topic);
    assert.equal(m.packet.retain, false, 'answers are never retained');
    return json(m.payload);
  }

  /** silent asserts that nothing came but what was taken: a get is answered after it. */
  async silent() {
    await this.client.publish(`${this.p}/get`, '{"clientToken":"barrier"}');
    await this.client.inbox.take('barrier', (x) => x.topic.startsWith(`${this.p}/get/`) && json(x.payload).clientToken === 'barrier');
    assert.deepEqual(this.client.inbox.rest.map(String), []);
  }

  end() { return this.client.end(); }
}

const versions = [['3.1.1', { protocolVersion: 4 }], ['5', { protocolVersion: 5 }]];
const ways = ['mqtt', 'mqtts', 'ws', 'wss'];

for (const [version, options] of versions) {
  for (const way of ways) {
    test(`MQTT ${version} over ${way}: the life of a shadow`, async () => {
      await life(await Device.connect(server[way], options, 'life', `of-${way}-${things++}`.replaceAll('.', '')));
    });
  }
  test(`MQTT ${version}: the life of a classic shadow`, async () => {
    await life(await Device.connect(server.mqtt, options, newThing()));
  });
}

/** life walks through get, update, delta, nulls, delete and what comes after. */
async function life(d) {
  const [, thing, name] = /things\/(.*)\/shadow(?:\/name\/(.*))?/.exec(d.p);
  const missing = `No shadow exists with name: '${name ? `${thing}~${name}` : thing}'`;
  await d.send('get');
  await d.answer('get/rejected', `{"code":404,"message":"${missing}"}`);
  await d.send('get', '{"clientToken":"g"}');
  await d.answer('get/rejected', `{"code":404,"message":"${missing}","clientToken":"g"}`);
  await d.send('delete', '{"clientToken":"d"}');
  await d.answer('delete/rejected', `{"code":404,"message":"${missing}","clientToken":"d"}`);

  await d.send('update', '{"state":{"reported":{"color":"red","pos":{"x":1,"y":2},"list":[1,{"a":2}]}},"clientToken":"t1"}');
  const stored = '{"color":{"timestamp":T},"pos":{"x":{"timestamp":T},"y":{"timestamp":T}},"list":[{"timestamp":T},{"a":{"timestamp":T}}]}';
  await d.answer('update/accepted', `{"state":{"reported":{"color":"red","pos":{"x":1,"y":2},"list":[1,{"a":2}]}},"metadata":{"reported":${stored}},"version":1,"timestamp":T,"clientToken":"t1"}`);
  await d.answer('update/documents', `{"previous":null,"current":{"state":{"reported":{"color":"red","pos":{"x":1,"y":2},"list":[1,{"a":2}]}},"metadata":{"reported":${stored}},"version":1},"timestamp":T,"clientToken":"t1"}`);
  await d.silent(); // nothing is desired, so there is no delta

  await d.send('update', '{"state":{"desired":{"color":"green","pos":{"x":1,"y":3},"list":[1,{"a":2}]}},"version":1,"clientToken":"t2"}');
  const accepted = await d.answer('update/accepted', `{"state":{"desired":{"color":"green","pos":{"x":1,"y":3},"list":[1,{"a":2}]}},"metadata":{"desired":${stored}},"version":2,"timestamp":T,"clientToken":"t2"}`);
  const delta = await d.answer('update/delta', '{"version":2,"timestamp":T,"state":{"color":"green","pos":{"y":3}},"metadata":{"color":{"timestamp":T},"pos":{"y":{"timestamp":T}}},"clientToken":"t2"}');
  assert.equal(accepted.timestamp, delta.timestamp, 'accepted and delta carry the same time');
  const documents = await d.client.inbox.take('documents', (x) => x.topic === `${d.p}/update/documents`).then((m) => json(m.payload));
  assert.deepEqual([documents.previous.version, documents.current.version], [1, 2]);
  assert.deepEqual(Object.keys(documents.current.state), ['desired', 'reported'], 'no delta in documents');

  // An unrelated report repeats all that is outstanding.
  await d.send('update', '{"state":{"reported":{"battery":7}}}');
  await d.answer('update/accepted', '{"state":{"reported":{"battery":7}},"metadata":{"reported":{"battery":{"timestamp":T}}},"version":3,"timestamp":T}');
  await d.answer('update/delta', '{"version":3,"timestamp":T,"state":{"color":"green","pos":{"y":3}},"metadata":{"color":{"timestamp":T},"pos":{"y":{"timestamp":T}}}}');
  d.client.inbox.clear();

  await d.send('get', '{"clientToken":"g2"}');
  const got = await d.client.inbox.take('get/accepted', (x) => x.topic === `${d.p}/get/accepted`).then((m) => json(m.payload));
  assert.deepEqual(got.state.delta, { color: 'green', pos: { y: 3 } });
  assert.deepEqual(Object.keys(got.metadata), ['desired', 'reported'], 'no delta in metadata');
  assert.deepEqual([got.version, got.clientToken], [3, 'g2']);

  // Nulls: a removed wish is no delta of its own; the echo keeps them.
  await d.send('update', '{"state":{"desired":{"color":null,"pos":{"y":null,"gone":null}}},"clientToken":"t4"}');
  await d.answer('update/accepted', '{"state":{"desired":{"color":null,"pos":{"y":null,"gone":null}}},"metadata":{"desired":{"color":{"timestamp":T},"pos":{"y":{"timestamp":T},"gone":{"timestamp":T}}}},"version":4,"timestamp":T,"clientToken":"t4"}');
  await d.client.inbox.take('documents', (x) => x.topic === `${d.p}/update/documents`);
  await d.silent();
  await d.send('update', '{"state":null}');
  await d.answer('update/accepted', '{"state":null,"metadata":{"timestamp":T},"version":5,"timestamp":T}');
  await d.send('get');
  await d.answer('get/accepted', '{"state":{},"metadata":{},"version":5,"timestamp":T}');

  await d.send('delete', 'the content is ignored');
  await d.answer('delete/accepted', '{"version":5,"timestamp":T}');
  await d.send('get');
  await d.answer('get/rejected', `{"code":404,"message":"${missing}"}`);
  d.client.inbox.clear();
  await d.send('update', '{"state":{"reported":{"a":1}},"version":5}');
  await d.answer('update/rejected', '{"code":409,"message":"Version conflict"}');
  await d.send('update', '{"state":{"reported":{"a":1}}}');
  await d.answer('update/accepted', '{"state":{"reported":{"a":1}},"metadata":{"reported":{"a":{"timestamp":T}}},"version":7,"timestamp":T}');
  await d.answer('update/documents', '{"previous":null,"current":{"state":{"reported":{"a":1}},"metadata":{"reported":{"a":{"timestamp":T}}},"version":7},"timestamp":T}');
  await d.silent();
  await d.end();
}

for (const [version, options] of versions) {
  describe(`MQTT ${version}: refused updates`, () => {
    for (const [name, body, want] of rejections) {
      test(name, async () => {
        const d = await Device.connect(server.mqtt, options, newThing());
        await d.send('update', '{"state":{"reported":{"kept":true}}}');
        await d.client.inbox.take('accepted', (x) => x.topic.endsWith('/accepted'));
        await d.client.inbox.take('documents', (x) => x.topic.endsWith('/documents'));
        await d.send('update', Buffer.from(body)); // refused, yet dealt with: PUBACK is a success
        await d.answer('update/rejected', JSON.stringify(want));
        await d.silent();
        await d.send('get');
        await d.answer('get/accepted', '{"state":{"reported":{"kept":true}},"metadata":{"reported":{"kept":{"timestamp":T}}},"version":1,"timestamp":T}');
        await d.end();
      });
    }

    test('illegal names', async () => {
      for (const thing of ['a b', 'ä', 'a.b', 'n'.repeat(129)]) {
        const d = await Device.connect(server.mqtt, options, thing);
        await d.send('update', '{"state":{"reported":{"a":1}},"clientToken":"t"}');
        const m = await d.client.inbox.take('rejected', (x) => x.topic === `${d.p}/update/rejected`);
        assert.deepEqual([json(m.payload).code, json(m.payload).clientToken], [400, 't']);
        await d.end();
      }
    });
  });

  test(`MQTT ${version}: a babble of refused updates does not disturb a neighbour`, async () => {
    const babbler = await connect(server.mqtt, options);
    const d = await Device.connect(server.mqtt, options, newThing());
    const babble = Promise.all(Array.from({ length: 300 }, () => babbler.publish(`${shadow('babbler')}/update`, '{')));
    for (let i = 1; i <= 20; i++) {
      await d.send('update', { state: { reported: { i } } });
      const m = await d.client.inbox.take('accepted', (x) => x.topic === `${d.p}/update/accepted`);
      assert.equal(json(m.payload).version, i);
    }
    await babble;
    await Promise.all([babbler.end(), d.end()]);
  });

  test(`MQTT ${version}: the wildcard of rules sees the deltas of all things`, async () => {
    const fleet = await connect(server.mqtt, options);
    await fleet.subscribe('$aws/things/+/shadow/update/delta');
    const nobody = await connect(server.mqtt, options);
    await nobody.subscribe(['#', '+/things/+/shadow/update/delta']); // [MQTT-4.7.2-1]
    const writer = await connect(server.mqtt, options);
    const names = [newThing(), newThing(), newThing()];
    for (const thing of names) await writer.publish(`${shadow(thing)}/update`, { state: { desired: { a: thing } } });
    for (const thing of names) {
      const m = await fleet.inbox.take(`delta of ${thing}`, (x) => x.topic === `${shadow(thing)}/update/delta`);
      assert.deepEqual(json(m.payload).state, { a: thing });
    }
    await writer.publish('barrier', 'x');
    await nobody.inbox.take('barrier', (x) => x.topic === 'barrier');
    assert.deepEqual(nobody.inbox.rest.filter((x) => x.topic.startsWith('$')).map(String), []);
    await Promise.all([fleet.end(), nobody.end(), writer.end()]);
  });

  test(`MQTT ${version}: publishing an answer is refused`, async () => {
    const thing = newThing();
    const victim = await Device.connect(server.mqtt, options, thing);
    for (const topic of ['update/accepted', 'update/rejected', 'update/delta', 'update/documents', 'get/accepted', 'delete/accepted']) {
      const c = await connect(server.mqtt, options);
      const sent = c.publish(`${shadow(thing)}/${topic}`, '{"state":{}}');
      if (version === '5') {
        await assert.rejects(sent, (err) => err.code === 135, 'PUBACK says not authorized');
        await c.publish(`${shadow(thing)}/get`); // the connection lives on
        await c.end();
      } else {
        sent.catch(() => {}); // 3.1.1 cannot be told: the connection is closed without PUBACK
        await c.closes.take('the end of the connection');
        await c.cut();
      }
    }
    // The six gets of MQTT 5 were answered to every subscriber, also to this one.
    const foreign = victim.client.inbox.rest.filter((m) => !m.topic.endsWith('get/rejected'));
    assert.deepEqual(foreign.map(String), []);
    await victim.end();
  });

  test(`MQTT ${version}: a retained publish to a reserved topic is refused`, async () => {
    const thing = newThing();
    const c = await connect(server.mqtt, options);
    const sent = c.publish(`${shadow(thing)}/update`, '{"state":{"reported":{"a":1}}}', { retain: true });
    if (version === '5') {
      await assert.rejects(sent, (err) => err.code >= 128);
      await c.end();
    } else {
      sent.catch(() => {});
      await c.closes.take('the end of the connection');
      await c.cut();
    }
    const d = await Device.connect(server.mqtt, options, thing);
    await d.send('get');
    await d.answer('get/rejected', `{"code":404,"message":"No shadow exists with name: '${thing}'"}`);
    await d.end();
  });

  test(`MQTT ${version}: retained messages`, async () => {
    const base = `retained/${newThing()}`;
    const a = await connect(server.mqtt, options);
    await a.publish(`${base}/a`, 'one', { retain: true });
    await a.publish(`${base}/a`, 'two', { retain: true });
    await a.publish(`${base}/b`, 'gone', { retain: true });
    await a.publish(`${base}/b`, '', { retain: true });
    await server.crash();
    await a.cut();
    const b = await connect(server.mqtt, options);
    await b.subscribe(`${base}/+`);
    const m = await b.inbox.take('the retained message');
    assert.deepEqual([m.topic, m.payload.toString(), m.packet.retain], [`${base}/a`, 'two', true]);
    await b.publish(`${base}/a`, 'three', { retain: true });
    const live = await b.inbox.take('the live message');
    assert.deepEqual([live.payload.toString(), live.packet.retain], ['three', false], 'a live message is not marked retained');
    assert.deepEqual(b.inbox.rest.map(String), [], 'the deleted one is gone');
    await b.publish(`${base}/a`, '', { retain: true });
    await b.end();
  });

  test(`MQTT ${version}: a will is sent when the connection is cut, not at a DISCONNECT`, async () => {
    const topic = `wills/${newThing()}`;
    const watcher = await connect(server.mqtt, options);
    await watcher.subscribe(topic);
    const will = { topic, payload: Buffer.from('died'), qos: 1, retain: true };
    const polite = await connect(server.mqtt, { ...options, will });
    await polite.end();
    const rude = await connect(server.mqtt, { ...options, will: { ...will, payload: Buffer.from('cut') } });
    rude.raw.stream.destroy();
    const m = await watcher.inbox.take('the will');
    assert.equal(m.payload.toString(), 'cut');
    const late = await connect(server.mqtt, options);
    await late.subscribe(topic);
    assert.equal((await late.inbox.take('the retained will')).packet.retain, true);
    await Promise.all([watcher.end(), late.end(), rude.cut()]);
  });

  test(`MQTT ${version}: a will on a shadow topic reaches subscribers and changes nothing`, async () => {
    const d = await Device.connect(server.mqtt, options, newThing());
    await d.client.subscribe(`${d.p}/update`);
    const body = '{"state":{"reported":{"connected":false}}}';
    const rude = await connect(server.mqtt, { ...options, will: { topic: `${d.p}/update`, payload: Buffer.from(body), qos: 1, retain: false } });
    rude.raw.stream.destroy();
    const m = await d.client.inbox.take('the will', (x) => x.topic === `${d.p}/update`);
    assert.equal(m.payload.toString(), body);
    await d.silent();
    await d.send('get');
    const got = await d.client.inbox.take('get', (x) => x.topic.startsWith(`${d.p}/get/`));
    assert.equal(got.topic, `${d.p}/get/rejected`, 'the shadow was not created');
    await Promise.all([d.end(), rude.cut()]);
  });

  test(`MQTT ${version}: requests are seen by their subscribers, QoS is the lower of both`, async () => {
    const thing = newThing();
    const sub = await connect(server.mqtt, options);
    await sub.subscribe(`${shadow(thing)}/update`);
    await sub.subscribe(`${shadow(thing)}/update/accepted`, { qos: 0 });
    await sub.publish(`${shadow(thing)}/update`, '{"state":{"reported":{"a":1}}}');
    const request = await sub.inbox.take('request', (x) => x.topic.endsWith('/update'));
    assert.equal(request.packet.qos, 1);
    const accepted = await sub.inbox.take('accepted', (x) => x.topic.endsWith('/accepted'));
    assert.equal(accepted.packet.qos, 0);
    await sub.unsubscribe(`${shadow(thing)}/update/accepted`);
    await sub.publish(`${shadow(thing)}/update`, '{"state":{"reported":{"a":2}}}');
    await sub.inbox.take('request', (x) => x.topic.endsWith('/update'));
    await sub.publish(`${shadow(thing)}/update`, 'barrier');
    await sub.inbox.take('barrier', (x) => x.payload.toString() === 'barrier');
    assert.deepEqual(sub.inbox.rest.map(String), []);
    await sub.end();
  });

  test(`MQTT ${version}: 500 updates in flight on one connection, answers in version order`, async () => {
    const d = await Device.connect(server.mqtt, options, newThing());
    const n = 500;
    await Promise.all(Array.from({ length: n }, (_, i) => d.send('update', { state: { reported: { i } }, clientToken: `t${i}` })));
    for (let i = 0; i < n; i++) {
      const m = await d.client.inbox.take(`accepted ${i}`, (x) => x.topic === `${d.p}/update/accepted`);
      const doc = json(m.payload);
      assert.deepEqual([doc.version, doc.clientToken, doc.state.reported.i], [i + 1, `t${i}`, i]);
    }
    await d.end();
  });
}

test('a client certificate of another authority is refused', async () => {
  const strange = { cert: pem('stranger.pem'), key: pem('stranger.key') };
  const required = await Server.start({ clientCert: 'required' });
  await assert.rejects(connect(required.mqtts, { ...strange, connectTimeout: 3000 }));
  await assert.rejects(connect(required.mqtts, { cert: undefined, key: undefined, connectTimeout: 3000 }), 'no certificate at all');
  await (await connect(required.mqtts)).end();
  await required.stop();
});
