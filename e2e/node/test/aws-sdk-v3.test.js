// The AWS data plane under @aws-sdk/client-iot-data-plane, unchanged: every
// operation, every error class that a client can cause. Section 8 of the contract.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  ConflictException, DeleteThingShadowCommand, GetRetainedMessageCommand, GetThingShadowCommand,
  InvalidRequestException, IoTDataPlaneClient, ListNamedShadowsForThingCommand, ListRetainedMessagesCommand,
  MethodNotAllowedException, PublishCommand, RequestEntityTooLargeException, ResourceNotFoundException,
  UnsupportedDocumentEncodingException, UpdateThingShadowCommand,
} from '@aws-sdk/client-iot-data-plane';
import { connect } from '../lib/mqtt.js';
import { json, same, text } from '../lib/check.js';
import { filled, rejections, section } from '../lib/rejections.js';
import { Server } from '../lib/server.js';

let server, client;

before(async () => {
  server = await Server.start();
  client = newClient();
});
after(async () => {
  client.destroy();
  await server.stop();
});

function newClient() {
  return new IoTDataPlaneClient({
    endpoint: server.http, region: 'us-east-1', maxAttempts: 1,
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'not-a-secret', sessionToken: 'token' },
  });
}

const classes = {
  400: InvalidRequestException, 409: ConflictException, 413: RequestEntityTooLargeException, 415: UnsupportedDocumentEncodingException,
};
const utf8 = (bytes) => Buffer.from(bytes).toString('utf8');
const update = async (thingName, body, shadowName, c = client) => utf8((await c.send(new UpdateThingShadowCommand({
  thingName, shadowName, payload: typeof body === 'object' && !Buffer.isBuffer(body) ? JSON.stringify(body) : body,
}))).payload);
const get = async (thingName, shadowName) => utf8((await client.send(new GetThingShadowCommand({ thingName, shadowName }))).payload);
const remove = async (thingName, shadowName) => utf8((await client.send(new DeleteThingShadowCommand({ thingName, shadowName }))).payload);

/** refused asserts the class, status and text of an error, and what it carries. */
async function refused(promise, Class, status, message) {
  await assert.rejects(promise, (err) => {
    assert.ok(err instanceof Class, `got ${err.name}: ${err.message}, want ${Class.name}`);
    assert.equal(err.name, Class.name);
    assert.equal(err.$metadata.httpStatusCode, status);
    assert.ok(err.$metadata.requestId, 'a request id');
    if (message !== undefined) assert.equal(err.message, message);
    return true;
  });
}

test('update, get and delete: exact documents', async () => {
  await refused(get('lamp-1'), ResourceNotFoundException, 404, "No shadow exists with name: 'lamp-1'");
  same(await update('lamp-1', '{"state":{"reported":{"on":true,"level":40}}}'),
    '{"state":{"reported":{"on":true,"level":40}},"metadata":{"reported":{"on":{"timestamp":T},"level":{"timestamp":T}}},"version":1,"timestamp":T}');
  same(await update('lamp-1', '{"state":{"desired":{"level":80}},"clientToken":"tok","version":1}'),
    '{"state":{"desired":{"level":80}},"metadata":{"desired":{"level":{"timestamp":T}}},"version":2,"timestamp":T,"clientToken":"tok"}');
  same(await get('lamp-1'),
    '{"state":{"desired":{"level":80},"reported":{"on":true,"level":40},"delta":{"level":80}},' +
    '"metadata":{"desired":{"level":{"timestamp":T}},"reported":{"on":{"timestamp":T},"level":{"timestamp":T}}},"version":2,"timestamp":T}');
  same(await remove('lamp-1'), '{"version":2,"timestamp":T}');
  await refused(get('lamp-1'), ResourceNotFoundException, 404, "No shadow exists with name: 'lamp-1'");
});

test('versions go on after a delete: V was deleted, the next update is V+2', async () => {
  await update('gone', { state: { reported: { a: 1 } } });
  same(await remove('gone'), '{"version":1,"timestamp":T}');
  await refused(remove('gone'), ResourceNotFoundException, 404, "No shadow exists with name: 'gone'");
  await refused(update('gone', { state: { reported: { a: 2 } }, version: 1 }), ConflictException, 409, 'Version conflict');
  assert.equal(JSON.parse(await update('gone', { state: { reported: { a: 2 } } })).version, 3);
});

test('nulls, empty sections and empty objects', async () => {
  await update('nulls', '{"state":{"desired":{"a":1,"b":{"c":{},"x":1},"d":{}},"reported":{"a":1}}}');
  same(await update('nulls', '{"state":{"desired":{"a":null,"b":{"x":null},"nothing":null},"reported":{}}}'),
    '{"state":{"desired":{"a":null,"b":{"x":null},"nothing":null},"reported":{}},' +
    '"metadata":{"desired":{"a":{"timestamp":T},"b":{"x":{"timestamp":T}},"nothing":{"timestamp":T}},"reported":{}},"version":2,"timestamp":T}');
  assert.deepEqual(JSON.parse(await get('nulls')).state,
    { desired: { b: { c: {} }, d: {} }, reported: { a: 1 }, delta: { b: { c: {} }, d: {} } });
  await update('nulls', '{"state":{"reported":{"a":null}}}');
  assert.deepEqual(Object.keys(JSON.parse(await get('nulls')).state), ['desired', 'delta']);
  await update('nulls', '{"state":{"desired":null}}');
  same(await get('nulls'), '{"state":{},"metadata":{},"version":4,"timestamp":T}');
  await update('nulls', '{"state":{"desired":{"a":1}}}');
  same(await update('nulls', '{"state":null}'), '{"state":null,"metadata":{"timestamp":T},"version":6,"timestamp":T}');
  same(await get('nulls'), '{"state":{},"metadata":{},"version":6,"timestamp":T}');
});

test('numbers and texts come back as they were sent', async () => {
  const section = '{"big":12345678901234567890123,"one":1.0,"e":1e5,"tiny":-0.000001,"text":"é\\u0000\\"/","list":[1,[],{"b":[]}],"timestamp":7}';
  await update('texts', `{"state":{"desired":${section}}}`);
  const got = await get('texts');
  for (const part of ['"big":12345678901234567890123', '"one":1.0', '"e":1e5', '"tiny":-0.000001', '"list":[1,[],{"b":[]}]', '"timestamp":7']) {
    assert.ok(got.includes(part), `${part} is in ${got}`);
  }
  assert.deepEqual(JSON.parse(got).state.desired.text, 'é\u0000"/');
  await update('texts', '{"state":{"reported":{"one":1,"big":12345678901234567890123}}}');
  const { delta } = JSON.parse(await get('texts')).state;
  assert.deepEqual(Object.keys(delta), ['e', 'tiny', 'text', 'list', 'timestamp'], '1 equals 1.0');
});

test('names: colons, all legal characters, the longest', async () => {
  for (const name of ['a:b', 'urn:dev:mac:0024befffe804ff1', 'A_z-0:9', 'n'.repeat(128)]) {
    assert.equal(JSON.parse(await update(name, { state: { reported: { name } } })).version, 1);
    assert.deepEqual(JSON.parse(await get(name)).state, { reported: { name } });
  }
  for (const shadow of ['s:1', '$package', 'n'.repeat(64)]) {
    assert.equal(JSON.parse(await update('a:b', { state: { reported: { shadow } } }, shadow)).version, 1);
    assert.deepEqual(JSON.parse(await get('a:b', shadow)).state, { reported: { shadow } });
  }
  for (const name of ['a b', 'a/b', 'ä', 'a+', 'a#', 'a.b', 'n'.repeat(129)]) {
    await refused(update(name, { state: { reported: { a: 1 } } }), InvalidRequestException, 400);
  }
  for (const shadow of ['a b', 'a/b', 'n'.repeat(65)]) {
    await refused(update('a', { state: { reported: { a: 1 } } }, shadow), InvalidRequestException, 400);
  }
});

test('a named shadow is one of its own', async () => {
  await refused(get('twins', 'config'), ResourceNotFoundException, 404, "No shadow exists with name: 'twins~config'");
  await update('twins', { state: { reported: { classic: true } } });
  await update('twins', { state: { reported: { named: true } } }, 'config');
  assert.deepEqual(JSON.parse(await get('twins')).state, { reported: { classic: true } });
  assert.deepEqual(JSON.parse(await get('twins', 'config')).state, { reported: { named: true } });
  await remove('twins', 'config');
  await refused(get('twins', 'config'), ResourceNotFoundException, 404, "No shadow exists with name: 'twins~config'");
  await get('twins');
});

for (const [name, body, want] of rejections) {
  test(`refused: ${name}`, async () => {
    const thing = `refused-${name.replace(/\W/g, '-')}`;
    await update(thing, { state: { reported: { kept: true } } });
    await refused(update(thing, Buffer.from(body)), classes[want.code], want.code, want.message);
    const now = JSON.parse(await get(thing));
    assert.deepEqual([now.version, now.state], [1, { reported: { kept: true } }], 'nothing was stored');
  });
}

test('limits: what just fits is taken', async () => {
  await refused(update('fits', { state: { reported: filled(8193) } }), RequestEntityTooLargeException, 413, 'The payload exceeds the maximum size allowed');
  await update('fits', { state: { reported: filled(8192) } });
  await refused(update('fits', { state: { desired: { a: 1 } } }), RequestEntityTooLargeException, 413, 'The payload exceeds the maximum size allowed');
  await update('fits', { state: { reported: null, desired: section(8) }, clientToken: 't'.repeat(64) });
});

test('a body over the packet limit is 413', async () => {
  await refused(update('huge', Buffer.alloc(129 * 1024, ' ')), RequestEntityTooLargeException, 413);
});

test('a wrong verb is MethodNotAllowed', async () => {
  const wrong = newClient();
  wrong.middlewareStack.add((next) => (args) => {
    args.request.method = 'PUT';
    return next(args);
  }, { step: 'build', name: 'wrongVerb' });
  await refused(update('lamp-1', { state: {} }, undefined, wrong), MethodNotAllowedException, 405);
  wrong.destroy();
});

test('errors as on the wire: class in the header with a trailing colon, message and trace id in the body', async () => {
  const answer = await fetch(`${server.http}/things/nobody/shadow`);
  assert.equal(answer.status, 404);
  assert.equal(answer.headers.get('x-amzn-errortype'), 'ResourceNotFoundException:');
  assert.equal(answer.headers.get('content-type'), 'application/json');
  assert.ok(answer.headers.get('x-amzn-requestid'));
  const body = await answer.json();
  assert.equal(body.message, "No shadow exists with name: 'nobody'");
  assert.match(body.traceId, /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);
});

test('ListNamedShadowsForThing pages by name, without classic and deleted shadows', async () => {
  const list = async (input) => client.send(new ListNamedShadowsForThingCommand({ thingName: 'many', ...input }));
  const none = await list({});
  assert.deepEqual([none.results, none.nextToken], [[], undefined]);
  await update('many', { state: { reported: { a: 1 } } });
  const names = Array.from({ length: 60 }, (_, i) => `s${String(i).padStart(2, '0')}`);
  for (const name of names) await update('many', { state: { reported: { a: 1 } } }, name);
  const first = await list({});
  assert.deepEqual(first.results, names.slice(0, 25));
  assert.ok(Math.abs(first.timestamp - Date.now() / 1000) < 60, 'the time of the answer in seconds');
  const second = await list({ nextToken: first.nextToken, pageSize: 35 });
  assert.deepEqual([second.results, second.nextToken], [names.slice(25), undefined], 'a page exactly full and the last has no token');
  await remove('many', 's01');
  const rest = [];
  let nextToken;
  do {
    const page = await list({ nextToken, pageSize: 7 });
    rest.push(...page.results);
    ({ nextToken } = page);
  } while (nextToken);
  assert.deepEqual(rest, names.filter((n) => n !== 's01'));
  for (const pageSize of [0, 101, -1]) await refused(list({ pageSize }), InvalidRequestException, 400);
  await refused(list({ nextToken: 'made-up' }), InvalidRequestException, 400);
});

test('Publish reaches MQTT subscribers, with its MQTT 5 properties', async () => {
  const sub = await connect(server.mqtt, { protocolVersion: 5 });
  await sub.subscribe('factory/#');
  await client.send(new PublishCommand({
    topic: 'factory/a b/ü', qos: 1, payload: 'hello', contentType: 'text/plain', responseTopic: 'answers/1',
    payloadFormatIndicator: 'UTF8_DATA', correlationData: Buffer.from('corr').toString('base64'), messageExpiry: 60,
    userProperties: JSON.stringify([{ k: 'v' }, { k: 'again' }]),
  }));
  const m = await sub.inbox.take('the message');
  assert.equal(m.topic, 'factory/a b/ü');
  assert.equal(m.payload.toString(), 'hello');
  assert.deepEqual([m.packet.qos, m.packet.retain], [1, false]);
  const p = m.packet.properties;
  assert.equal(p.contentType, 'text/plain');
  assert.equal(p.responseTopic, 'answers/1');
  assert.equal(p.correlationData.toString(), 'corr');
  assert.equal(p.payloadFormatIndicator, true);
  assert.ok(p.messageExpiryInterval > 50 && p.messageExpiryInterval <= 60, `expiry ${p.messageExpiryInterval}`);
  assert.deepEqual(p.userProperties.k, ['v', 'again']);
  await client.send(new PublishCommand({ topic: 'factory/qos0', qos: 0, payload: new Uint8Array([0, 255]) }));
  const binary = await sub.inbox.take('the binary message');
  assert.deepEqual([...binary.payload], [0, 255]);
  await sub.end();
});

test('Publish to a shadow topic is an update; response topics are refused', async () => {
  await client.send(new PublishCommand({ topic: '$aws/things/by-publish/shadow/update', qos: 1, payload: '{"state":{"reported":{"a":1}}}' }));
  assert.deepEqual(JSON.parse(await get('by-publish')).state, { reported: { a: 1 } });
  await assert.rejects(client.send(new PublishCommand({ topic: '$aws/things/by-publish/shadow/update/accepted', qos: 1, payload: '{}' })),
    (err) => [400, 403].includes(err.$metadata.httpStatusCode));
  await assert.rejects(client.send(new PublishCommand({ topic: 'a/+/b', qos: 1, payload: '{}' })),
    (err) => err instanceof InvalidRequestException);
});

test('retained messages: publish, get, list in pages, delete', async () => {
  const topics = Array.from({ length: 5 }, (_, i) => `retained/é ${i}`);
  const userProperties = JSON.stringify([{ k: 'v' }]);
  for (const topic of topics) await client.send(new PublishCommand({ topic, qos: 1, retain: true, payload: `at ${topic}`, userProperties }));
  const m = await client.send(new GetRetainedMessageCommand({ topic: topics[0] }));
  assert.deepEqual([m.topic, utf8(m.payload), m.qos], [topics[0], `at ${topics[0]}`, 1]);
  assert.ok(Math.abs(m.lastModifiedTime - Date.now()) < 60_000, `milliseconds: ${m.lastModifiedTime}`);
  assert.deepEqual(json(m.userProperties), [{ k: 'v' }]);
  const seen = [];
  let nextToken;
  do {
    const page = await client.send(new ListRetainedMessagesCommand({ maxResults: 2, nextToken }));
    assert.ok(page.retainedTopics.length <= 2);
    seen.push(...page.retainedTopics);
    ({ nextToken } = page);
  } while (nextToken);
  assert.deepEqual(seen.map((t) => t.topic), topics);
  assert.deepEqual([seen[0].payloadSize, seen[0].qos], [Buffer.byteLength(`at ${topics[0]}`), 1]);
  await client.send(new PublishCommand({ topic: topics[0], qos: 1, retain: true, payload: '' }));
  await refused(client.send(new GetRetainedMessageCommand({ topic: topics[0] })), ResourceNotFoundException, 404);
  await refused(client.send(new ListRetainedMessagesCommand({ maxResults: 0 })), InvalidRequestException, 400);
});

test('an HTTP update and delete are seen by MQTT subscribers, and the other way round', async () => {
  const sub = await connect(server.mqtt, { protocolVersion: 4 });
  const p = '$aws/things/both/shadow';
  await sub.subscribe([`${p}/update/+`, `${p}/delete/+`, `${p}/get/+`]);
  const accepted = await update('both', '{"state":{"desired":{"a":1}},"clientToken":"h"}');
  for (const [topic, want] of [
    ['update/accepted', text(accepted)],
    ['update/delta', '{"version":1,"timestamp":T,"state":{"a":1},"metadata":{"a":{"timestamp":T}},"clientToken":"h"}'],
    ['update/documents', '{"previous":null,"current":{"state":{"desired":{"a":1}},"metadata":{"desired":{"a":{"timestamp":T}}},"version":1},"timestamp":T,"clientToken":"h"}'],
  ]) same((await sub.inbox.take(topic, (m) => m.topic === `${p}/${topic}`)).payload, want);
  await sub.publish(`${p}/update`, '{"state":{"reported":{"a":1}}}');
  assert.equal(JSON.parse(await get('both')).version, 2, 'after PUBACK it is there');
  await assert.rejects(update('both', { state: {}, version: 1 }));
  await remove('both');
  same((await sub.inbox.take('delete/accepted', (m) => m.topic === `${p}/delete/accepted`)).payload, '{"version":2,"timestamp":T}');
  const topics = sub.inbox.rest.map((m) => m.topic);
  assert.deepEqual(topics.toSorted(), [`${p}/update/accepted`, `${p}/update/documents`],
    'no delta once reported agrees, nothing for an HTTP get, nothing for an HTTP error');
  await sub.end();
});

test('acknowledged updates survive kill -9, versions go on', async () => {
  for (let i = 1; i <= 20; i++) assert.equal(JSON.parse(await update('durable', { state: { reported: { i } } })).version, i);
  await server.crash();
  const doc = JSON.parse(await get('durable'));
  assert.deepEqual([doc.version, doc.state], [20, { reported: { i: 20 } }]);
  assert.equal(JSON.parse(await update('durable', { state: { reported: { i: 21 } } })).version, 21);
});

test('concurrent updates with a version: exactly one wins each round', async () => {
  await update('race', { state: { reported: { n: 0 } } });
  for (let version = 1; version <= 10; version++) {
    const results = await Promise.allSettled(Array.from({ length: 8 }, (_, n) => update('race', { state: { reported: { n } }, version })));
    const lost = results.filter((r) => r.status === 'rejected');
    assert.equal(lost.length, 7);
    for (const { reason } of lost) assert.ok(reason instanceof ConflictException);
  }
  assert.equal(JSON.parse(await get('race')).version, 11);
});
