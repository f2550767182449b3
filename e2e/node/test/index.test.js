// AWS IoT fleet indexing and the registry with @aws-sdk/client-iot, unchanged.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  CreateThingCommand, CreateThingTypeCommand, DeleteThingCommand, DeleteThingTypeCommand, DeprecateThingTypeCommand, DescribeIndexCommand, DescribeThingCommand, DescribeThingTypeCommand, GetBucketsAggregationCommand, GetCardinalityCommand, GetPercentilesCommand,
  GetStatisticsCommand, InvalidAggregationException, InvalidQueryException, InvalidRequestException, IoTClient, ListIndicesCommand, ListThingsCommand, ListThingTypesCommand,
  ResourceAlreadyExistsException, ResourceNotFoundException, SearchIndexCommand, UpdateThingCommand, UpdateThingTypeCommand,
} from '@aws-sdk/client-iot';
import { IoTDataPlaneClient, UpdateThingShadowCommand } from '@aws-sdk/client-iot-data-plane';
import { Server } from '../lib/server.js';

let server, iot, data;

before(async () => {
  server = await Server.start({ clientCert: 'required' });
  const account = { region: 'eu-central-1', maxAttempts: 1, endpoint: server.http, credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'not-a-secret' } };
  iot = new IoTClient(account);
  data = new IoTDataPlaneClient(account);
});
after(async () => {
  iot.destroy();
  data.destroy();
  await server.stop();
});

const update = (thingName, state) => data.send(new UpdateThingShadowCommand({ thingName, payload: Buffer.from(JSON.stringify({ state })) }));
const found = async (queryString, more = {}) => {
  const names = [];
  for (let nextToken; ;) {
    const page = await iot.send(new SearchIndexCommand({ queryString, nextToken, ...more }));
    names.push(...page.things.map((t) => t.thingName));
    if (!(nextToken = page.nextToken)) return names;
  }
};
const refused = (command, Class) => assert.rejects(iot.send(command), (err) => {
  assert.ok(err instanceof Class, `${command.constructor.name}: got ${err.name}: ${err.message}, want ${Class.name}`);
  return true;
});

test('the registry: create, describe, list, update', async () => {
  for (let i = 1; i <= 5; i++) {
    const made = await iot.send(new CreateThingCommand({ thingName: `reg-${i}`, thingTypeName: i < 4 ? 'pump' : 'motor', attributePayload: { attributes: { site: i % 2 ? 'hh1' : 'b2' } } }));
    assert.deepEqual([made.thingName, made.thingArn], [`reg-${i}`, `arn:aws:iot:eu-central-1:000000000000:thing/reg-${i}`]);
  }
  // Again with the same is no error, with another is one.
  await iot.send(new CreateThingCommand({ thingName: 'reg-1', thingTypeName: 'pump', attributePayload: { attributes: { site: 'hh1' } } }));
  await refused(new CreateThingCommand({ thingName: 'reg-1', thingTypeName: 'motor' }), ResourceAlreadyExistsException);
  await refused(new DescribeThingCommand({ thingName: 'nobody' }), ResourceNotFoundException);
  await refused(new UpdateThingCommand({ thingName: 'nobody', thingTypeName: 'pump' }), ResourceNotFoundException);
  await refused(new CreateThingCommand({ thingName: 'reg x' }), InvalidRequestException);
  await iot.send(new UpdateThingCommand({ thingName: 'reg-2', attributePayload: { attributes: { floor: '3' }, merge: true } }));
  const one = await iot.send(new DescribeThingCommand({ thingName: 'reg-2' }));
  assert.deepEqual([one.thingTypeName, one.attributes], ['pump', { site: 'b2', floor: '3' }]);
  const first = await iot.send(new ListThingsCommand({ maxResults: 2 }));
  const rest = await iot.send(new ListThingsCommand({ maxResults: 100, nextToken: first.nextToken }));
  assert.deepEqual([...first.things, ...rest.things].map((t) => t.thingName), ['reg-1', 'reg-2', 'reg-3', 'reg-4', 'reg-5']);
  const pumps = await iot.send(new ListThingsCommand({ thingTypeName: 'pump', attributeName: 'site', attributeValue: 'hh1' }));
  assert.deepEqual(pumps.things.map((t) => [t.thingName, t.attributes]), [['reg-1', { site: 'hh1' }], ['reg-3', { site: 'hh1' }]]);
  const twin = await (await fetch(`${server.http}/api/v1/twins/reg-2?history=false`)).json();
  assert.deepEqual([twin.model, twin.tags], ['pump', { site: 'b2', floor: '3' }]);
});

test('SearchIndex: the documented query syntax', async () => {
  for (let i = 1; i <= 5; i++) await update(`reg-${i}`, { reported: { temp: 10 * i, mode: i % 2 ? 'on' : 'off', on: i > 2, fw: `1.${i}` }, ...(i === 5 && { desired: { temp: 20 } }) });
  for (const [query, ...want] of [
    ['*', 1, 2, 3, 4, 5], ['thingName:reg-*', 1, 2, 3, 4, 5], ['thingName:reg-3', 3], ['thingName:(reg-* AND -reg-3)', 1, 2, 4, 5],
    ['shadow.reported.temp > 20 AND connectivity.connected:false AND thingName:reg-*', 3, 4, 5], ['shadow.reported.temp:[20 TO 40}', 2, 3], ['shadow.reported.temp >= 20 AND shadow.reported.temp < 30', 2],
    ['attributes.site:hh1 AND thingTypeName:pump', 1, 3], ['attributes.floor >= 3', 2], ['NOT attributes.floor:*', 1, 3, 4, 5], ['shadow.reported.mode:on OR shadow.reported.temp:20', 1, 2, 3, 5],
    ['shadow.reported.on:true', 3, 4, 5], ['shadow.hasDelta:true', 5], ['shadow.delta.temp:20', 5], ['shadow.reported.fw:1.?', 1, 2, 3, 4, 5], ['shadow.reported.fw:"1.4"', 4],
    ['(thingTypeName:motor OR shadow.reported.temp:10) AND NOT shadow.reported.mode:off', 1, 5], ['shadow.version > 0 AND shadow.reported.none:*'],
  ]) assert.deepEqual(await found(query), want.map((i) => `reg-${i}`), query);
  assert.deepEqual(await found('thingName:reg-*', { maxResults: 2 }), ['reg-1', 'reg-2', 'reg-3', 'reg-4', 'reg-5']);
  await data.send(new UpdateThingShadowCommand({ thingName: 'reg-2', shadowName: 'conf', payload: Buffer.from('{"state":{"reported":{"interval":5},"desired":{"interval":7}}}') }));
  assert.deepEqual(await found('shadow.name.conf.reported.interval < 6 AND shadow.name.conf.hasDelta:true'), ['reg-2']);
  const [named] = (await iot.send(new SearchIndexCommand({ queryString: 'thingName:reg-2' }))).things;
  assert.deepEqual(JSON.parse(named.shadow).name, { conf: { version: 1, reported: { interval: 5 }, desired: { interval: 7 }, delta: { interval: 7 }, hasDelta: true } });
  const [thing] = (await iot.send(new SearchIndexCommand({ indexName: 'AWS_Things', queryString: 'thingName:reg-5' }))).things;
  assert.deepEqual([thing.thingTypeName, thing.attributes, thing.connectivity.connected], ['motor', { site: 'hh1' }, false]);
  assert.deepEqual(JSON.parse(thing.shadow), { reported: { temp: 50, mode: 'on', on: true, fw: '1.5' }, desired: { temp: 20 }, delta: { temp: 20 }, hasDelta: true, version: 1 });
});

test('figures: statistics, percentiles, cardinality, buckets', async () => {
  const on = { queryString: 'thingName:reg-*' };
  const { statistics } = await iot.send(new GetStatisticsCommand({ ...on, aggregationField: 'shadow.reported.temp' }));
  assert.deepEqual(statistics, { count: 5, average: 30, sum: 150, minimum: 10, maximum: 50, sumOfSquares: 5500, variance: 200, stdDeviation: Math.sqrt(200) });
  assert.deepEqual((await iot.send(new GetStatisticsCommand({ ...on, aggregationField: 'shadow.reported.mode' }))).statistics, { count: 5 });
  assert.equal((await iot.send(new GetStatisticsCommand({ queryString: 'thingTypeName:pump' }))).statistics.count, 3);
  const { percentiles } = await iot.send(new GetPercentilesCommand({ ...on, aggregationField: 'shadow.reported.temp', percents: [0, 50, 75] }));
  assert.deepEqual(percentiles, [{ percent: 0, value: 10 }, { percent: 50, value: 30 }, { percent: 75, value: 40 }]);
  assert.equal((await iot.send(new GetCardinalityCommand({ ...on, aggregationField: 'attributes.site' }))).cardinality, 2);
  const buckets = await iot.send(new GetBucketsAggregationCommand({ ...on, aggregationField: 'shadow.reported.mode', bucketsAggregationType: { termsAggregation: { maxBuckets: 1 } } }));
  assert.deepEqual([buckets.totalCount, buckets.buckets], [5, [{ keyValue: 'on', count: 3 }]]);
  assert.deepEqual((await iot.send(new ListIndicesCommand({}))).indexNames, ['AWS_Things']);
  assert.equal((await iot.send(new DescribeIndexCommand({ indexName: 'AWS_Things' }))).indexStatus, 'ACTIVE');
});

test('what cannot be answered is refused', async () => {
  await refused(new SearchIndexCommand({ queryString: 'nonsense' }), InvalidQueryException);
  await refused(new SearchIndexCommand({ queryString: 'thingName:a thingName:b' }), InvalidQueryException);
  await refused(new SearchIndexCommand({ queryString: '*', maxResults: 1000 }), InvalidRequestException);
  await refused(new SearchIndexCommand({ queryString: '*', nextToken: 'x' }), InvalidRequestException);
  await refused(new SearchIndexCommand({ queryString: '*', indexName: 'none' }), ResourceNotFoundException);
  await refused(new SearchIndexCommand({ queryString: '*', queryVersion: '2099-01-01' }), InvalidRequestException);
  await refused(new GetStatisticsCommand({ queryString: '*', aggregationField: 'nonsense' }), InvalidAggregationException);
  await refused(new GetPercentilesCommand({ queryString: '*', aggregationField: 'shadow.reported.temp', percents: [200] }), InvalidAggregationException);
  await refused(new DescribeIndexCommand({ indexName: 'none' }), ResourceNotFoundException);
});

test('thing types: create, describe, list, update, deprecate, delete', async () => {
  const type = { thingTypeName: 'valve', thingTypeProperties: { thingTypeDescription: 'a valve', searchableAttributes: ['site'] } };
  const made = await iot.send(new CreateThingTypeCommand(type));
  assert.deepEqual([made.thingTypeName, made.thingTypeArn], ['valve', 'arn:aws:iot:eu-central-1:000000000000:thingtype/valve']);
  await iot.send(new CreateThingTypeCommand(type));
  await refused(new CreateThingTypeCommand({ thingTypeName: 'valve' }), ResourceAlreadyExistsException);
  await refused(new DescribeThingTypeCommand({ thingTypeName: 'none' }), ResourceNotFoundException);
  await iot.send(new UpdateThingTypeCommand({ thingTypeName: 'valve', thingTypeProperties: { thingTypeDescription: 'a ball valve' } }));
  const put = await fetch(`${server.http}/api/v1/models/boiler`, { method: 'PUT', headers: { 'Content-Type': 'application/yaml' }, body: 'name: boiler\ncomputed: {x: reported.a + 1}\n' });
  assert.ok(put.ok, await put.text());
  const one = await iot.send(new DescribeThingTypeCommand({ thingTypeName: 'valve' }));
  assert.deepEqual(one.thingTypeProperties, { thingTypeDescription: 'a ball valve', searchableAttributes: ['site'] });
  assert.equal(one.thingTypeMetadata.deprecated, false);
  assert.ok(Math.abs(one.thingTypeMetadata.creationDate - Date.now()) < 60_000);
  const first = await iot.send(new ListThingTypesCommand({ maxResults: 1 }));
  const rest = await iot.send(new ListThingTypesCommand({ nextToken: first.nextToken }));
  assert.deepEqual([...first.thingTypes, ...rest.thingTypes].map((t) => t.thingTypeName), ['boiler', 'valve']);
  await iot.send(new CreateThingCommand({ thingName: 'valve-1', thingTypeName: 'valve' }));
  await update('valve-1', { reported: { open: true } });
  await refused(new DeleteThingTypeCommand({ thingTypeName: 'valve' }), InvalidRequestException);
  await iot.send(new DeprecateThingTypeCommand({ thingTypeName: 'valve' }));
  await refused(new CreateThingCommand({ thingName: 'valve-2', thingTypeName: 'valve' }), InvalidRequestException);
  await refused(new DeleteThingTypeCommand({ thingTypeName: 'valve' }), InvalidRequestException); // a thing has it
  await iot.send(new DeleteThingCommand({ thingName: 'valve-1' }));
  await iot.send(new DeleteThingCommand({ thingName: 'valve-1' })); // again is no error
  await refused(new DescribeThingCommand({ thingName: 'valve-1' }), ResourceNotFoundException);
  await refused(new DeleteThingTypeCommand({ thingTypeName: 'boiler' }), InvalidRequestException);
  assert.deepEqual(await found('thingName:valve-1'), []);
  await iot.send(new DeleteThingTypeCommand({ thingTypeName: 'valve' }));
  await refused(new DescribeThingTypeCommand({ thingTypeName: 'valve' }), ResourceNotFoundException);
});
