// A TCP proxy that sees the MQTT packets of both directions and may drop them:
// what a bad network does to a device.

import { once } from 'node:events';
import net from 'node:net';

export const PUBLISH = 3;
export const PUBACK = 4;

/** packets cuts a stream of bytes into MQTT packets. */
function packets(onPacket) {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      let length = 0, i = 1, more = true;
      for (let shift = 0; more; shift += 7, i++) {
        if (i >= rest.length) return;
        length += (rest[i] & 0x7f) << shift;
        more = rest[i] >= 0x80;
      }
      if (rest.length < i + length) return;
      onPacket(rest.subarray(0, i + length));
      rest = rest.subarray(i + length);
    }
  };
}

/** publishID returns the packet id of a QoS 1 PUBLISH, undefined for any other packet. */
export function publishID(packet) {
  if (packet[0] >> 4 !== PUBLISH || (packet[0] & 6) === 0) return undefined;
  let i = 1;
  while (packet[i++] >= 0x80); // the remaining length
  return packet.readUInt16BE(i + 2 + packet.readUInt16BE(i));
}

export class Proxy {
  up = () => true; // called with each packet of the client, which it may change; false drops it
  down = () => true; // called with each packet of the server
  #sockets = new Set();

  static async start(port) {
    const p = new Proxy();
    p.server = net.createServer((client) => p.#serve(client, net.connect(port, '127.0.0.1')));
    p.server.listen(0, '127.0.0.1');
    await once(p.server, 'listening');
    p.url = `mqtt://127.0.0.1:${p.server.address().port}`;
    return p;
  }

  #serve(client, server) {
    for (const [from, to] of [[client, server], [server, client]]) {
      this.#sockets.add(from);
      from.on('error', () => {}); // what 'close' tells
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      const feed = packets((packet) => {
        if ((from === client ? this.up : this.down)(packet)) to.write(packet);
      });
      from.on('data', feed);
    }
  }

  /** cut drops all connections. */
  cut() { for (const s of this.#sockets) s.destroy(); }

  async stop() {
    this.cut();
    this.server.close();
    await once(this.server, 'close');
  }
}
