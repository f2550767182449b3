// Comparison of documents, text by text: only times are not known beforehand.

import assert from 'node:assert/strict';
import { setTimeout as after } from 'node:timers/promises';

const clockSlackS = 60; // a slow machine, not a wrong unit

/**
 * text returns a document with each timestamp replaced by T, after a look whether
 * it is the present time in whole seconds.
 */
export function text(document) {
  const now = Date.now() / 1000;
  return Buffer.from(document).toString('utf8').replace(/"timestamp":([^,}\]]+)/g, (all, value) => {
    if (!/^[{\[]/.test(value)) { // else a user's key called timestamp
      assert.match(value, /^\d+$/, `timestamp of ${document}`);
      assert.ok(Math.abs(Number(value) - now) < clockSlackS, `timestamp ${value} is not near ${Math.floor(now)} s`);
      return '"timestamp":T';
    }
    return all;
  });
}

/** same asserts that a document is the wanted text, times aside. */
export function same(document, want, message) {
  assert.equal(text(document), want, message);
}

/** json parses a document. */
export const json = (document) => JSON.parse(Buffer.from(document).toString('utf8'));

/** within fails a promise that takes too long, saying what was waited for. */
export async function within(ms, what, promise) {
  const stop = new AbortController();
  const late = after(ms, undefined, { signal: stop.signal }).then(() => {
    throw new Error(`${what}: nothing within ${ms} ms`);
  });
  late.catch(() => {}); // aborted: the promise was in time
  try {
    return await Promise.race([promise, late]);
  } finally {
    stop.abort();
  }
}

/** Inbox keeps what arrived, and lets a test wait for it, in order of arrival. */
export class Inbox {
  #items = [];
  #waiting = [];

  put(item) {
    const i = this.#waiting.findIndex((w) => w.match(item));
    if (i >= 0) this.#waiting.splice(i, 1)[0].resolve(item);
    else this.#items.push(item);
  }

  /** take returns the first item that matches, waiting for it if need be. */
  take(what, match = () => true, ms = 10_000) {
    const i = this.#items.findIndex(match);
    if (i >= 0) return Promise.resolve(this.#items.splice(i, 1)[0]);
    const waiter = { match };
    const found = new Promise((resolve) => { waiter.resolve = resolve; });
    this.#waiting.push(waiter);
    return within(ms, what, found).catch((err) => {
      this.#waiting = this.#waiting.filter((w) => w !== waiter);
      err.message += `; there was: ${JSON.stringify(this.#items.map(String))}`;
      throw err;
    });
  }

  /** rest returns what arrived and was not taken. */
  get rest() { return [...this.#items]; }

  /** clear forgets what arrived and was not taken. */
  clear() { this.#items = []; }
}
