// A Twofold server under test: a child process with its own data folder and free
// ports, which stay the same when it is killed and started again.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';

const startMS = 15_000; // until the ready file is there
const stopMS = 12_000; // a graceful stop takes at most 10 s

const binary = wanted('TWOFOLD_BIN', 'the twofold binary; run the tests with e2e/run');
const certs = wanted('TWOFOLD_CERTS', 'the folder of e2e/certs; run the tests with e2e/run');

function wanted(name, what) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: it names ${what}`);
  return value;
}

/** file returns the path of a test certificate or key, such as 'ca.pem'. */
export const file = (name) => join(certs, name);

/** pem returns the content of such a file. */
export const pem = (name) => readFileSync(file(name), 'utf8');

const children = new Set(); // only what this process started is ended by it
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

export class Server {
  #dir = mkdtempSync(join(tmpdir(), 'twofold-e2e-'));
  #args;
  #child;
  #log = '';
  #addr = { http: '127.0.0.1:0', mqtt: '127.0.0.1:0', mqtts: '127.0.0.1:0', wss: '127.0.0.1:0' };

  /** start starts a server; clientCert is 'required' or 'optional', on the TLS listeners. */
  static async start({ clientCert = 'optional', env = {} } = {}) {
    const s = new Server();
    s.#args = ['--client-cert', clientCert];
    s.env = env;
    await s.start();
    return s;
  }

  get http() { return `http://${this.#addr.http}`; }
  get ws() { return `ws://${this.#addr.http}/mqtt`; }
  get wss() { return `wss://${this.#addr.wss}/mqtt`; }
  get mqtt() { return `mqtt://${this.#addr.mqtt}`; }
  get mqtts() { return `mqtts://${this.#addr.mqtts}`; }
  /** port returns the port of a listener: http, mqtt, mqtts or wss. */
  port(name) { return Number(this.#addr[name].split(':')[1]); }
  get log() { return this.#log; }

  async start() {
    const ready = join(this.#dir, 'ready.json');
    rmSync(ready, { force: true });
    const a = this.#addr;
    const child = spawn(binary, ['serve', '--data', join(this.#dir, 'data'), '--ready-file', ready,
      '--http', a.http, '--mqtt', a.mqtt, '--mqtts', a.mqtts, '--wss', a.wss,
      '--tls-cert', file('server.pem'), '--tls-key', file('server.key'), '--client-ca', file('ca.pem'), ...this.#args],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...this.env } });
    children.add(child);
    child.once('exit', () => children.delete(child));
    child.stderr.setEncoding('utf8').on('data', (s) => { this.#log = (this.#log + s).slice(-8192); });
    this.#child = child;
    const deadline = Date.now() + startMS;
    while (!existsSync(ready)) {
      if (child.exitCode !== null) throw new Error(`the server ended with code ${child.exitCode}:\n${this.#log}`);
      if (Date.now() > deadline) throw new Error(`the server is not ready after ${startMS} ms:\n${this.#log}`);
      await after(5);
    }
    const { pid, ...open } = JSON.parse(readFileSync(ready, 'utf8'));
    if (pid !== child.pid) throw new Error(`the ready file names process ${pid}, want ${child.pid}`);
    Object.assign(this.#addr, open);
  }

  /** kill ends the server with SIGKILL. */
  async kill() {
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }

  /** crash kills the server and starts it again on the same data and ports. */
  async crash() {
    await this.kill();
    await this.start();
  }

  /** stop ends the server gracefully, insists on exit code 0, and removes its data. */
  async stop() {
    const child = this.#child;
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), stopMS);
      const [code, signal] = await gone;
      clearTimeout(timer);
      if (code !== 0) throw new Error(`a graceful stop ended with code ${code}, signal ${signal}:\n${this.#log}`);
    }
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
