// Telemetry under MQTT.js and fetch: what was acknowledged is there after kill -9, folded or
// not, and reads as points, charts and figures.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect } from '../lib/mqtt.js';
import { Server } from '../lib/server.js';

let server;
before(async () => { server = await Server.start({ env: { TWOFOLD_TELEMETRY_TOPICS: 'dt/+/{thing}/#' } }); });
after(() => server.stop());

const read = async (path, headers = {}) => {
  const answer = await fetch(`${server.http}${path}`, { headers });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer;
};
const series = async (thing, query) => (await (await read(`/api/v1/twins/${thing}/series?${query}`)).json()).series;

for (const [version, protocolVersion] of [['3.1.1', 4], ['5', 5]]) {
  test(`MQTT ${version}: acknowledged samples survive kill -9, also while they are folded`, async () => {
    const thing = `probe-${protocolVersion}`;
    const device = await connect(server.mqtt, { protocolVersion, clientId: thing });
    // Two messages of 3,000 points each: the rows are folded while the server is killed.
    const start = Date.now() - 10_000_000;
    for (const part of [0, 1]) {
      const points = Array.from({ length: 3_000 }, (_, i) => ({ ts: start + 1000 * (3_000 * part + i), t: (i % 100) / 4, on: i % 7 < 3 }));
      await device.publish(`twins/${thing}/telemetry`, JSON.stringify(points), { qos: 1 });
    }
    await device.publish(`dt/hh1/${thing}/motor/speed`, '1480.5', { qos: 1 });
    await server.crash();
    const range = `from=${new Date(start).toISOString()}`;
    const [numbers] = await series(thing, `metric=t&${range}&limit=10000`);
    assert.equal(numbers.values.length, 6_000);
    assert.deepEqual(numbers.values, Array.from({ length: 6_000 }, (_, i) => ((i % 3_000) % 100) / 4));
    const [speed] = await series(thing, 'metric=motor.speed');
    assert.deepEqual(speed.values, [1480.5]);
    const hours = await series(thing, `metric=t&${range}&window=1h&fn=count,min,max`);
    assert.equal(hours[0].count.reduce((a, b) => a + b), 6_000);
    assert.deepEqual([Math.min(...hours[0].min), Math.max(...hours[0].max)], [0, 24.75]);
    await device.end().catch(() => {}); // the server was killed under it
  });
}

test('late and repeated samples land where they belong, in points, chart and rollups', async () => {
  const at = Date.UTC(new Date().getUTCFullYear(), new Date().getUTCMonth(), new Date().getUTCDate()) - 86_400_000;
  const lines = [];
  for (let i = 0; i < 5_000; i++) lines.push(`late-1,${at + i * 1000},${i % 50}`);
  const post = async (body) => {
    const answer = await fetch(`${server.http}/api/v1/telemetry`, { method: 'POST', headers: { 'Content-Type': 'text/csv' }, body: `thing,ts,level\n${body.join('\n')}\n` });
    return answer.json();
  };
  assert.equal((await post(lines)).accepted, 5_000);
  const result = await post([`late-1,${at + 500},-7`, `late-1,${at + 1000},999`, 'late-1,no time,1']);
  assert.deepEqual([result.accepted, result.rejected, result.errors[0].line], [2, 1, 4]);
  const range = `from=${new Date(at).toISOString()}&to=${new Date(at + 86_400_000).toISOString()}`;
  const [points] = await series('late-1', `metric=level&${range}&limit=4`);
  assert.deepEqual(points.values, [0, -7, 999, 2]);
  const [day] = await series('late-1', `metric=level&${range}&window=24h`);
  assert.deepEqual([day.count, day.min, day.max], [[5_001], [-7], [999]]);
  const chart = await (await read(`/api/v1/twins/late-1/series?metric=level&${range}&points=100`)).json();
  assert.equal(chart.window, '15m0s');
  assert.ok(chart.series[0].values.includes(-7) && chart.series[0].values.includes(999) && chart.series[0].values.length <= 4 * 6);
});

test('an answer as Parquet and as CSV', async () => {
  const file = Buffer.from(await (await read('/api/v1/twins/late-1/series?metric=level&from=2026-01-01T00:00:00Z', { Accept: 'application/vnd.apache.parquet' })).arrayBuffer());
  assert.equal(file.subarray(0, 4).toString() + file.subarray(-4).toString(), 'PAR1PAR1');
  const table = await (await read('/api/v1/series?thing=late-1&thing=probe-5&metric=level&metric=t&window=24h&fn=count&from=2026-01-01T00:00:00Z', { Accept: 'text/csv' })).text();
  assert.match(table, /^time,thing,metric,count\n/);
  assert.match(table, /,late-1,level,5001\n/);
});
