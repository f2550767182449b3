// Persistent sessions under MQTT.js: no lost delta, one effect, also through a
// kill -9 of the server. Promises 1 to 4 of the design.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect, open } from '../lib/mqtt.js';
import { json } from '../lib/check.js';
import { Proxy, PUBACK, publishID } from '../lib/proxy.js';
import { Server } from '../lib/server.js';

let server;
before(async () => { server = await Server.start(); });
after(() => server.stop());

const persistent = [
  ['3.1.1', (clientId) => ({ protocolVersion: 4, clean: false, clientId })],
  ['5', (clientId) => ({ protocolVersion: 5, clean: false, clientId, properties: { sessionExpiryInterval: 3600 } })],
];

const desire = async (thing, n) => {
  const answer = await fetch(`${server.http}/things/${thing}/shadow`, { method: 'POST', body: JSON.stringify({ state: { desired: { n } } }) });
  assert.equal(answer.status, 200);
};

for (const [version, session] of persistent) {
  const v = version.replaceAll('.', '');

  test(`MQTT ${version}: deltas of a sleeping device wait in order, through kill -9 and a restart`, async () => {
    const thing = `sleeper-${v}`;
    const device = await connect(server.mqtt, session(thing));
    await device.subscribe(`$aws/things/${thing}/shadow/update/delta`);
    await desire(thing, 1);
    assert.equal(json((await device.inbox.take('the first delta')).payload).version, 1);
    await device.publish('barrier', 'x'); // once it is answered, the server has read the PUBACK before it
    await device.end();

    for (let n = 2; n <= 40; n++) await desire(thing, n);
    await server.crash();
    for (let n = 41; n <= 60; n++) await desire(thing, n);
    await server.crash();

    const again = open(server.mqtt, { reconnectPeriod: 0, ...session(thing) });
    assert.equal((await again.connected()).sessionPresent, true);
    for (let n = 2; n <= 60; n++) {
      const m = await again.inbox.take(`delta ${n}`);
      const delta = json(m.payload);
      assert.deepEqual([delta.version, delta.state.n, m.packet.qos], [n, n, 1], 'each once, in version order');
    }
    // The subscription lives too, and nothing came twice.
    await desire(thing, 61);
    assert.equal(json((await again.inbox.take('the live delta')).payload).version, 61);
    assert.deepEqual(again.inbox.rest.map(String), []);
    await again.end();

    const clean = open(server.mqtt, { ...session(thing), clean: true, reconnectPeriod: 0 });
    assert.equal((await clean.connected()).sessionPresent, false, 'a clean start ends the session');
    await clean.end();
  });

  test(`MQTT ${version}: a delta that was delivered but not acknowledged comes again`, async () => {
    const thing = `unacked-${v}`;
    const proxy = await Proxy.start(server.port('mqtt'));
    const device = await connect(proxy.url, session(thing));
    await device.subscribe(`$aws/things/${thing}/shadow/update/delta`);
    proxy.up = (packet) => packet[0] >> 4 !== PUBACK; // the device's PUBACKs get lost
    for (let n = 1; n <= 5; n++) await desire(thing, n);
    for (let n = 1; n <= 5; n++) assert.equal(json((await device.inbox.take(`delta ${n}`)).payload).version, n);
    proxy.cut();
    await device.cut();
    proxy.up = () => true;
    await server.crash();
    const again = await connect(proxy.url, session(thing));
    for (let n = 1; n <= 5; n++) assert.equal(json((await again.inbox.take(`delta ${n} again`)).payload).version, n);
    await again.publish('barrier', 'x'); // once it is answered, the server has read the PUBACKs before it
    await again.end();
    const third = await connect(proxy.url, session(thing));
    await desire(thing, 6);
    assert.equal(json((await third.inbox.take('delta 6')).payload).version, 6, 'what was acknowledged does not come again');
    await third.end();
    await proxy.stop();
  });

  for (const crash of [false, true]) {
    test(`MQTT ${version}: updates resent with DUP${crash ? ' after kill -9' : ''} move the version once each`, async () => {
      const thing = `dup-${v}${crash ? '-crash' : ''}`;
      const watcher = await connect(server.mqtt, { ...session(`${thing}-watcher`) });
      await watcher.subscribe(`$aws/things/${thing}/shadow/update/documents`);
      const proxy = await Proxy.start(server.port('mqtt'));
      // MQTT.js resends with the same packet id but without DUP, against
      // [MQTT-3.3.1-1]; the proxy sets it, as the AWS SDKs do (aws-sdk-device-v2.test.js).
      const seen = new Set();
      let resent = 0;
      proxy.up = (packet) => {
        const id = publishID(packet);
        if (seen.has(id)) {
          packet[0] |= 8;
          resent++;
        }
        if (id !== undefined) seen.add(id);
        return true;
      };
      const device = await connect(proxy.url, { ...session(thing), reconnectPeriod: 200 });
      await device.publish('warm', 'up');
      proxy.down = (packet) => packet[0] >> 4 !== PUBACK; // the server's PUBACKs get lost
      const n = 20;
      const sent = Array.from({ length: n }, (_, i) => device.raw.publishAsync(`$aws/things/${thing}/shadow/update`,
        JSON.stringify({ state: { reported: { i } } }), { qos: 1 }));
      for (let i = 1; i <= n; i++) assert.equal(json((await watcher.inbox.take(`documents ${i}`)).payload).current.version, i);
      if (crash) await server.crash();
      proxy.down = () => true;
      proxy.cut();
      await Promise.all(sent); // MQTT.js sends them again and gets its PUBACKs
      assert.equal(resent, n, 'each was resent');
      seen.clear();
      const answer = await fetch(`${server.http}/things/${thing}/shadow`);
      const doc = await answer.json();
      assert.deepEqual([doc.version, doc.state], [n, { reported: { i: n - 1 } }]);
      // The same bytes as a new publish are a new update.
      await device.publish(`$aws/things/${thing}/shadow/update`, { state: { reported: { i: n - 1 } } });
      assert.equal((await (await fetch(`${server.http}/things/${thing}/shadow`)).json()).version, n + 1);
      await device.end();
      await watcher.cut();
      await proxy.stop();
    });
  }

  test(`MQTT ${version}: a device that comes back reads what it missed with get`, async () => {
    const thing = `clean-${v}`;
    const p = `$aws/things/${thing}/shadow`;
    const options = { protocolVersion: version === '5' ? 5 : 4, clean: true };
    const device = await connect(server.mqtt, options);
    await device.publish(`${p}/update`, { state: { reported: { n: 0 } } });
    await device.end();
    await desire(thing, 5);
    await server.crash();
    const again = await connect(server.mqtt, options);
    await again.subscribe([`${p}/get/accepted`, `${p}/update/delta`]);
    await again.publish(`${p}/get`, '');
    const doc = json((await again.inbox.take('get/accepted')).payload);
    assert.deepEqual([doc.version, doc.state.delta], [2, { n: 5 }], 'nothing is sent on subscribe alone');
    await again.publish(`${p}/update`, { state: { reported: { n: 5 } }, version: doc.version });
    await again.publish(`${p}/get`, '');
    assert.equal(json((await again.inbox.take('get/accepted')).payload).state.delta, undefined);
    await again.end();
  });

  test(`MQTT ${version}: the second connection of a client id takes the session over`, async () => {
    const thing = `twice-${v}`;
    const first = await connect(server.mqtt, session(thing));
    await first.subscribe(`$aws/things/${thing}/shadow/update/delta`);
    const second = await connect(server.mqtt, session(thing));
    await first.closes.take('the end of the first connection');
    if (version === '5') assert.equal(first.disconnect?.reasonCode, 0x8e, 'session taken over');
    await desire(thing, 1);
    assert.equal(json((await second.inbox.take('delta')).payload).version, 1);
    assert.deepEqual(first.inbox.rest, []);
    await Promise.all([first.cut(), second.end()]);
  });
}

test('MQTT 5: a session ends with its expiry, a message with its own', async () => {
  const session = (sessionExpiryInterval) => ({ protocolVersion: 5, clean: false, clientId: 'expiring', properties: { sessionExpiryInterval } });
  const first = await connect(server.mqtt, session(0));
  await first.subscribe('expiring/+');
  await first.end();
  const second = open(server.mqtt, { reconnectPeriod: 0, ...session(3600) });
  assert.equal((await second.connected()).sessionPresent, false, 'an expiry of 0 ends with the connection');
  await second.subscribe('expiring/+');
  await second.end();
  const writer = await connect(server.mqtt, {});
  await writer.publish('expiring/soon', 'x', { properties: { messageExpiryInterval: 1 } });
  await writer.publish('expiring/late', 'y', { properties: { messageExpiryInterval: 600 } });
  await new Promise((resolve) => { setTimeout(resolve, 1500); }); // the expiry is real time
  const third = await connect(server.mqtt, session(3600));
  const m = await third.inbox.take('the message that is still good');
  assert.equal(m.topic, 'expiring/late');
  assert.ok(m.packet.properties.messageExpiryInterval < 600, 'the time that it waited is taken off [MQTT-3.3.2-6]');
  await Promise.all([third.end(), writer.end()]);
});
