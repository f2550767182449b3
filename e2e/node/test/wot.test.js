// The Thing Description of a twin under node-wot, the reference implementation of the Web of
// Things: what it says can be read, written, done and followed can be.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import wotCore from '@node-wot/core';
import wotHttp from '@node-wot/binding-http';
import { connect } from '../lib/mqtt.js';
import { Server } from '../lib/server.js';

const model = `name: lamp
schema:
  reported:
    properties:
      level: {type: integer, minimum: 0, maximum: 100, unit: percent}
  desired:
    properties:
      level: {type: integer, minimum: 0, maximum: 100, unit: percent}
      colour: {type: object, properties: {r: {type: integer}, g: {type: integer}}}
computed:
  half: {expression: reported.level / 2, unit: percent}
alarms:
  bright: {when: reported.level > 90, severity: error, message: "{reported.level} percent"}
`;

let server, device, wot, servient;
before(async () => {
  server = await Server.start();
  device = await connect(server.mqtt, { protocolVersion: 5, clientId: 'lamp-1' });
  await device.publish('$aws/things/lamp-1/shadow/update', '{"state":{"reported":{"level":40}}}', { qos: 1 });
  const calls = [['PUT', '/api/v1/models/lamp', model, 'application/yaml'], ['PATCH', '/api/v1/twins/lamp-1', '{"model":"lamp"}', 'application/json']];
  for (const [method, path, body, type] of calls) {
    const answer = await fetch(server.http + path, { method, body, headers: { 'Content-Type': type } });
    assert.ok(answer.ok, await answer.text());
  }
  servient = new wotCore.Servient();
  servient.addClientFactory(new wotHttp.HttpClientFactory());
  wot = await servient.start();
});
after(async () => { await servient?.shutdown(); device?.raw.end(true); await server?.stop(); });

const describe = async () => {
  const answer = await fetch(`${server.http}/twins/lamp-1`, { headers: { Accept: 'application/td+json' } });
  assert.equal(answer.headers.get('content-type'), 'application/td+json');
  return answer.json();
};

test('WoT: properties are read and written', async () => {
  const td = await describe();
  assert.deepEqual([td.properties['reported.level'].unit, td.properties['reported.level'].maximum], ['percent', 100]);
  const thing = await wot.consume(td);
  const read = async (name) => (await thing.readProperty(name)).value();
  assert.equal(await read('reported.level'), 40);
  assert.equal(await read('computed.half'), 20);
  assert.equal(await read('connected'), true);
  await thing.writeProperty('desired.level', 70);
  assert.equal(await read('desired.level'), 70);
  await thing.writeProperty('desired.colour', { r: 1, g: 2 });
  await thing.writeProperty('desired.colour', { g: 3 });
  assert.deepEqual(await read('desired.colour'), { g: 3 });
  const all = await (await fetch(`${server.http}/api/v1/twins/lamp-1/properties`)).json();
  assert.deepEqual([all['reported.level'], all['desired.level']], [40, 70]);
});

test('WoT: the device gets a command that is invoked as an action', async () => {
  const thing = await wot.consume(await describe());
  await device.subscribe('twins/lamp-1/commands/+');
  const answer = await (await thing.invokeAction('command', { name: 'blink', parameters: { times: 3 } })).value();
  assert.equal(answer.name, 'blink');
  const { payload } = await device.inbox.take('the command');
  assert.equal(JSON.parse(payload).name, 'blink');
});

test('WoT: an alarm is followed', async () => {
  const thing = await wot.consume(await describe());
  let tell;
  const told = new Promise((go) => { tell = go; });
  const subscription = await thing.subscribeEvent('alarm', async (output) => tell(await output.value()));
  // The library does not say when it listens: alarms are raised until one has come.
  let level = 91;
  const sent = [];
  const raising = setInterval(() => {
    level = level === 91 ? 10 : 91;
    sent.push(device.publish('$aws/things/lamp-1/shadow/update', `{"state":{"reported":{"level":${level}}}}`, { qos: 1 }));
  }, 100);
  const alarm = await told;
  clearInterval(raising);
  await Promise.all(sent); // none is on its way when the connection is closed
  assert.deepEqual([alarm.kind, alarm.thing, alarm.correlationId], ['alarm', 'lamp-1', 'bright']);
  await subscription.stop();
});
