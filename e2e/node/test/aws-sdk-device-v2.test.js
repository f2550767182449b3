// aws-iot-device-sdk-v2, unchanged: both shadow clients, over MQTT 5 and 3.1.1,
// with mutual TLS and ALPN as on AWS. Sections 9 and 10 of the contract.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { iot, iotshadow, mqtt, mqtt5 } from 'aws-iot-device-sdk-v2';
import { Inbox, json, within } from '../lib/check.js';
import { Proxy, PUBACK, publishID } from '../lib/proxy.js';
import { Server, pem } from '../lib/server.js';

let server;
before(async () => { server = await Server.start({ clientCert: 'required' }); });
after(() => server.stop());

const QoS = mqtt.QoS;

/** The two protocol clients, with one face: connect, shadow clients, stop. */
const protocols = {
  'MQTT 5': {
    async connect(clientId, { clean = true, expiry = 0, port = server.port('mqtts') } = {}) {
      const client = new mqtt5.Mqtt5Client(iot.AwsIotMqtt5ClientConfigBuilder
        .newDirectMqttBuilderWithMtlsFromMemory('localhost', pem('device.pem'), pem('device.key'))
        .withCertificateAuthority(pem('ca.pem')).withPort(port)
        .withConnectProperties({ clientId, keepAliveIntervalSeconds: 1200, sessionExpiryIntervalSeconds: expiry })
        .withSessionBehavior(clean ? mqtt5.ClientSessionBehavior.Clean : mqtt5.ClientSessionBehavior.RejoinAlways)
        .withMinReconnectDelayMs(100).withMaxReconnectDelayMs(300)
        .build());
      const connects = new Inbox();
      client.on('error', () => {});
      client.on('connectionSuccess', (e) => connects.put({ present: e.connack.sessionPresent }));
      client.start();
      const { present } = await connects.take('connection', undefined, 15_000);
      return {
        present, connects,
        v1: () => iotshadow.IotShadowClient.newFromMqtt5Client(client),
        v2: (o) => iotshadow.IotShadowClientv2.newFromMqtt5(client, o),
        publish: (topicName, payload) => client.publish({ topicName, payload, qos: QoS.AtLeastOnce }),
        async end() {
          const stopped = once(client, 'stopped');
          client.stop();
          await within(10_000, 'stop', stopped);
          client.close();
        },
      };
    },
  },
  'MQTT 3.1.1': {
    async connect(clientId, { clean = true, port = server.port('mqtts') } = {}) {
      const config = iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder(pem('device.pem'), pem('device.key'))
        .with_certificate_authority(pem('ca.pem'))
        .with_endpoint('localhost').with_port(port).with_client_id(clientId)
        .with_clean_session(clean).with_keep_alive_seconds(1200)
        .with_reconnect_min_sec(1).with_reconnect_max_sec(1)
        .build();
      const connection = new mqtt.MqttClient().new_connection(config);
      const connects = new Inbox();
      connection.on('error', () => {});
      connection.on('interrupt', () => {});
      connection.on('resume', (code, present) => connects.put({ present }));
      const present = await within(15_000, 'connection', connection.connect());
      return {
        present, connects,
        v1: () => new iotshadow.IotShadowClient(connection),
        v2: (o) => iotshadow.IotShadowClientv2.newFromMqtt311(connection, o),
        publish: (topic, payload) => connection.publish(topic, payload, QoS.AtLeastOnce),
        end: () => within(10_000, 'disconnect', connection.disconnect()),
      };
    },
  },
};

const http = async (thing, method = 'GET', body = undefined) => {
  const answer = await fetch(`${server.http}/things/${thing}/shadow`, { method, body: body && JSON.stringify(body) });
  return { code: answer.status, body: await answer.json() };
};
/** seconds asserts that a time, which this SDK leaves as a number, is near now. */
const seconds = (time) => {
  assert.ok(Number.isInteger(time) && Math.abs(time - Date.now() / 1000) < 60, `seconds near now: ${time}`);
  return time;
};

for (const [protocol, { connect }] of Object.entries(protocols)) {
  const id = protocol.replace(/\W/g, '');
  const options = { maxRequestResponseSubscriptions: 6, maxStreamingSubscriptions: 4, operationTimeoutInSeconds: 15 };

  for (const shadowName of [undefined, 'config:1']) {
    const thingName = `v2-${id}-${shadowName ? 'named' : 'classic'}`;
    const missing = `No shadow exists with name: '${shadowName ? `${thingName}~${shadowName}` : thingName}'`;
    const key = shadowName ? { thingName, shadowName } : { thingName };
    const op = (verb) => (shadowName ? `${verb}NamedShadow` : `${verb}Shadow`);

    test(`v2 request/response client over ${protocol}, ${shadowName ? 'a named' : 'the classic'} shadow`, async () => {
      const c = await connect(`${thingName}-rr`);
      const shadow = c.v2(options);
      const deltas = new Inbox(), updates = new Inbox();
      for (const [stream, inbox] of [
        [shadowName ? shadow.createNamedShadowDeltaUpdatedStream(key) : shadow.createShadowDeltaUpdatedStream(key), deltas],
        [shadowName ? shadow.createNamedShadowUpdatedStream(key) : shadow.createShadowUpdatedStream(key), updates],
      ]) {
        const open = new Promise((resolve) => { stream.on('subscriptionStatus', (e) => resolve(e)); });
        stream.on('incomingPublish', (e) => inbox.put(e.message));
        stream.open();
        await within(10_000, 'stream', open);
      }
      await assert.rejects(shadow[op('get')](key), (err) => {
        assert.deepEqual([err.modeledError.code, err.modeledError.message], [404, missing]);
        return true;
      });
      const first = await shadow[op('update')]({ ...key, state: { reported: { color: 'green' } } });
      assert.deepEqual([first.state, first.version], [{ reported: { color: 'green' } }, 1]);
      seconds(first.timestamp);
      const created = await updates.take('documents');
      assert.deepEqual([created.previous ?? null, created.current.version], [null, 1]);
      const second = await shadow[op('update')]({ ...key, state: { desired: { color: 'red', list: [1, 2] } }, version: 1 });
      assert.equal(second.version, 2);
      const delta = await deltas.take('delta');
      assert.deepEqual([delta.version, delta.state], [2, { color: 'red', list: [1, 2] }]);
      assert.equal(seconds(delta.timestamp), second.timestamp);
      const documents = await updates.take('documents');
      assert.deepEqual([documents.previous.version, documents.current.version, documents.current.state],
        [1, 2, { desired: { color: 'red', list: [1, 2] }, reported: { color: 'green' } }]);
      const got = await shadow[op('get')](key);
      assert.deepEqual([got.version, got.state.desired, got.state.reported, got.state.delta],
        [2, { color: 'red', list: [1, 2] }, { color: 'green' }, { color: 'red', list: [1, 2] }]);
      await assert.rejects(shadow[op('update')]({ ...key, state: { reported: { color: 'blue' } }, version: 1 }),
        (err) => err.modeledError.code === 409 && err.modeledError.message === 'Version conflict');
      // Many at once: each finds its own answer by clientToken.
      const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => shadow[op('update')]({ ...key, state: { reported: { i } } })));
      answers.forEach((a, i) => assert.equal(a.state.reported.i, i));
      assert.deepEqual(answers.map((a) => a.version).toSorted((a, b) => a - b), Array.from({ length: 50 }, (_, i) => i + 3));
      const gone = await shadow[op('delete')](key);
      assert.equal(gone.version, 52);
      await assert.rejects(shadow[op('delete')](key), (err) => err.modeledError.code === 404);
      shadow.close();
      await c.end();
    });

    test(`v2 publish/subscribe client over ${protocol}, ${shadowName ? 'a named' : 'the classic'} shadow`, async () => {
      const c = await connect(`${thingName}-ps`);
      const shadow = c.v1();
      const inbox = new Inbox();
      const key2 = { ...key, thingName: `${thingName}-ps` };
      const listen = (what) => within(10_000, what, shadow[`subscribeTo${what}`](key2, QoS.AtLeastOnce, (err, m) => inbox.put({ what, err, ...m })));
      const named = (verb, tail) => `${verb}${shadowName ? 'NamedShadow' : 'Shadow'}${tail}`;
      for (const verb of ['Get', 'Update', 'Delete']) {
        await listen(named(verb, 'Accepted'));
        await listen(named(verb, 'Rejected'));
      }
      await listen(shadowName ? 'NamedShadowDeltaUpdatedEvents' : 'ShadowDeltaUpdatedEvents');
      const take = (verb, tail) => inbox.take(named(verb, tail), (m) => m.what === named(verb, tail));
      const publish = (verb, more) => shadow[`publish${named(verb, '')}`]({ ...key2, ...more }, QoS.AtLeastOnce);

      await publish('Get', { clientToken: 'g' });
      const rejected = await take('Get', 'Rejected');
      assert.deepEqual([rejected.code, rejected.clientToken, rejected.err], [404, 'g', undefined]);
      await publish('Update', { state: { desired: { a: 1, b: null }, reported: { b: { c: [] } } }, clientToken: 'u' });
      const accepted = await take('Update', 'Accepted');
      assert.deepEqual([accepted.version, accepted.clientToken, accepted.state],
        [1, 'u', { desired: { a: 1, b: null }, reported: { b: { c: [] } } }]);
      const delta = await inbox.take('delta', (m) => m.what.includes('DeltaUpdated'));
      assert.deepEqual([delta.version, delta.state, delta.clientToken], [1, { a: 1 }, 'u']);
      await publish('Get', {});
      const got = await take('Get', 'Accepted');
      assert.deepEqual([got.version, got.state.delta], [1, { a: 1 }]);
      await publish('Update', { state: { reported: { a: 1 } }, version: 7 });
      assert.equal((await take('Update', 'Rejected')).code, 409);
      await publish('Delete', {});
      assert.equal((await take('Delete', 'Accepted')).version, 1);
      assert.deepEqual(inbox.rest.map((m) => m.what), []);
      await c.end();
    });
  }

  test(`v2 over ${protocol}: reconnect with delta, through kill -9`, async () => {
    const thingName = `v2-${id}-reconnect`;
    const c = await connect(thingName, { clean: true });
    const shadow = c.v2(options);
    await shadow.updateShadow({ thingName, state: { reported: { level: 1 } } });
    await server.crash();
    await http(thingName, 'POST', { state: { desired: { level: 9 } } });
    await c.connects.take('the second connection', undefined, 20_000);
    const got = await shadow.getShadow({ thingName });
    assert.deepEqual([got.version, got.state.delta], [2, { level: 9 }]);
    const done = await shadow.updateShadow({ thingName, state: { reported: { level: 9 } }, version: got.version });
    assert.equal(done.version, 3);
    assert.equal((await http(thingName)).body.state.delta, undefined);
    shadow.close();
    await c.end();
  });

  test(`v2 over ${protocol}: a persistent session gets the deltas of its sleep in order, through kill -9`, async () => {
    const thingName = `v2-${id}-sleeper`;
    const session = { clean: false, expiry: 3600 };
    const listen = async (c, inbox) => c.v1().subscribeToShadowDeltaUpdatedEvents({ thingName }, QoS.AtLeastOnce, (err, m) => inbox.put(m));
    const first = await connect(thingName, session);
    await listen(first, new Inbox());
    await first.end();
    for (let n = 1; n <= 30; n++) {
      await http(thingName, 'POST', { state: { desired: { n } } });
      if (n === 20) await server.crash();
    }
    const inbox = new Inbox();
    // What waits comes right after CONNACK, before this SDK can set a handler for
    // its topic: it drops what has none. So the connection is watched instead.
    const again = await watch(protocol, thingName, inbox);
    assert.equal(again.present, true);
    for (let n = 1; n <= 30; n++) {
      const delta = json((await inbox.take(`delta ${n}`)).payload);
      assert.deepEqual([delta.version, delta.state], [n, { n }]);
    }
    assert.deepEqual(inbox.rest, []);
    await again.end();
  });
}

/** watch rejoins a session with all messages of the connection going to an inbox. */
async function watch(protocol, clientId, inbox) {
  if (protocol === 'MQTT 5') {
    const client = new mqtt5.Mqtt5Client(iot.AwsIotMqtt5ClientConfigBuilder
      .newDirectMqttBuilderWithMtlsFromMemory('localhost', pem('device.pem'), pem('device.key'))
      .withCertificateAuthority(pem('ca.pem')).withPort(server.port('mqtts'))
      .withConnectProperties({ clientId, keepAliveIntervalSeconds: 1200, sessionExpiryIntervalSeconds: 3600 })
      .withSessionBehavior(mqtt5.ClientSessionBehavior.RejoinAlways).build());
    client.on('error', () => {});
    client.on('messageReceived', (e) => inbox.put({ payload: Buffer.from(e.message.payload) }));
    const connected = once(client, 'connectionSuccess');
    client.start();
    const [{ connack }] = await within(15_000, 'connection', connected);
    return {
      present: connack.sessionPresent,
      async end() {
        const stopped = once(client, 'stopped');
        client.stop();
        await stopped;
        client.close();
      },
    };
  }
  const connection = new mqtt.MqttClient().new_connection(iot.AwsIotMqttConnectionConfigBuilder
    .new_mtls_builder(pem('device.pem'), pem('device.key')).with_certificate_authority(pem('ca.pem'))
    .with_endpoint('localhost').with_port(server.port('mqtts')).with_client_id(clientId).with_clean_session(false).build());
  connection.on('error', () => {});
  connection.on('message', (topic, payload) => inbox.put({ payload: Buffer.from(payload) }));
  const present = await within(15_000, 'connection', connection.connect());
  return { present, end: () => connection.disconnect() };
}

test('v2 over MQTT 5: its own resends carry DUP and move the version once each', async () => {
  const thingName = 'v2-dup';
  const proxy = await Proxy.start(server.port('mqtt'));
  const seen = new Set();
  const resent = [];
  let proxied = 0;
  proxy.up = (packet) => {
    const id = publishID(packet);
    if (id !== undefined) proxied++;
    if (seen.has(id)) resent.push(Boolean(packet[0] & 8));
    if (id !== undefined) seen.add(id);
    return true;
  };
  const client = new mqtt5.Mqtt5Client({
    hostName: '127.0.0.1', port: Number(new URL(proxy.url).port),
    connectProperties: { clientId: thingName, keepAliveIntervalSeconds: 1200, sessionExpiryIntervalSeconds: 3600 },
    sessionBehavior: mqtt5.ClientSessionBehavior.RejoinAlways, minReconnectDelayMs: 100, maxReconnectDelayMs: 300,
    retryJitterMode: mqtt5.RetryJitterType.None,
  });
  client.on('error', () => {});
  const connects = new Inbox();
  client.on('connectionSuccess', () => connects.put('connect'));
  client.start();
  await connects.take('connection');
  proxy.down = (packet) => packet[0] >> 4 !== PUBACK;
  const n = 20;
  const sent = Array.from({ length: n }, (_, i) => client.publish({
    topicName: `$aws/things/${thingName}/shadow/update`, qos: mqtt5.QoS.AtLeastOnce, payload: JSON.stringify({ state: { reported: { i } } }),
  }));
  const deadline = Date.now() + 10_000;
  while ((await http(thingName)).body.version !== n) assert.ok(Date.now() < deadline, `${proxied} publishes sent, version ${n} not reached`);
  await server.crash();
  proxy.down = () => true;
  proxy.cut();
  await within(20_000, 'all PUBACKs', Promise.all(sent));
  assert.deepEqual(resent, Array.from({ length: n }, () => true));
  const { body } = await http(thingName);
  assert.deepEqual([body.version, body.state], [n, { reported: { i: n - 1 } }]);
  const stopped = once(client, 'stopped');
  client.stop();
  await stopped;
  client.close();
  await proxy.stop();
});
