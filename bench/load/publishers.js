/**
 * Publishers: connections that are kept, each with one request in flight, acknowledged when its answer is
 * complete.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { publishManyRequest, publishRequest } from '../peers.js';
import { PAYLOAD_BYTES, payload } from './payload.js';

export class Publishers {
  /** How many updates each has published. */
  published = [];
  acknowledged = 0;
  #server;
  #connections = [];
  #sentAt = [];

  static async open(server, count) {
    const publishers = new Publishers(server);
    await Promise.all(Array.from({ length: count }, () => publishers.#add()));
    return publishers;
  }

  constructor(server) {
    this.#server = server;
  }

  get size() {
    return this.#connections.length;
  }

  get total() {
    return this.published.reduce((total, count) => total + count, 0);
  }

  sentAt(publisher, sequence) {
    return this.#sentAt[publisher][sequence];
  }

  /** Publishes one update and resolves with the answer's body. */
  async publish(
    publisher,
    { topic = 'bench', bytes = PAYLOAD_BYTES, at = performance.now() } = {},
  ) {
    const data = this.#next(publisher, bytes, at);
    const answer = await this.#connections[publisher].send(
      publishRequest(this.#server.peer, topic, data),
    );
    this.acknowledged += 1;
    return answer;
  }

  /** Publishes many updates in one request. */
  async publishMany(publisher, count, topic = 'bench') {
    const at = performance.now();
    const list = Array.from({ length: count }, () => this.#next(publisher, PAYLOAD_BYTES, at));
    await this.#connections[publisher].send(publishManyRequest(this.#server.peer, topic, list));
    this.acknowledged += count;
  }

  /** Everyone publishes again and again, for so long as asked for; resolves when all is acknowledged. */
  async keepPublishing(shallGoOn, publish = (publisher) => this.publish(publisher)) {
    await Promise.all(
      this.#connections.map(async (_, publisher) => {
        while (shallGoOn()) await publish(publisher);
      }),
    );
  }

  /**
   * Publishes at a rate, whether or not the answers come: an update is counted from when it was due to be
   * handed over, also if no connection was free. Returns how late this loop itself was at worst, in milliseconds.
   */
  async publishAtRate(perSecond, durationMs, topicOf = () => undefined) {
    const free = this.#connections.map((_, publisher) => publisher);
    const queue = [];
    const answers = [];
    const serve = async (publisher, at) => {
      await this.publish(publisher, { topic: topicOf(), at });
      const next = queue.shift();
      if (next === undefined) free.push(publisher);
      else await serve(publisher, next);
    };
    const start = performance.now();
    const count = Math.round((perSecond * durationMs) / 1_000);
    let lateMs = 0;
    for (let handedOver = 0; handedOver < count; ) {
      const now = performance.now();
      const due = start + (handedOver / perSecond) * 1_000;
      if (now < due) {
        await sleep(due - now);
        continue;
      }
      lateMs = Math.max(lateMs, now - due);
      handedOver += 1;
      const publisher = free.shift();
      if (publisher === undefined) queue.push(now);
      else answers.push(serve(publisher, now));
    }
    await Promise.all(answers);
    return lateMs;
  }

  close() {
    for (const connection of this.#connections) connection.close();
  }

  async #add() {
    const connection = new Connection(this.#server.port);
    this.published.push(0);
    this.#sentAt.push([0]);
    this.#connections.push(connection);
    await connection.ready;
  }

  #next(publisher, bytes, at) {
    this.published[publisher] += 1;
    this.#sentAt[publisher].push(at);
    return payload(publisher, this.published[publisher], bytes);
  }
}

class Connection {
  #port;
  #socket;
  #text = '';
  #waiting;

  constructor(port) {
    this.#port = port;
    this.ready = this.#connect();
  }

  async send(request) {
    // Servers close connections that have been idle for some seconds.
    if (this.#socket.destroyed) await this.#connect();
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket.write(request, 'latin1');
    });
  }

  close() {
    this.#waiting = undefined;
    this.#socket.resetAndDestroy();
  }

  #connect() {
    const socket = connect({ host: '127.0.0.1', port: this.#port, noDelay: true });
    socket.setEncoding('latin1');
    socket.on('data', (text) => this.#read(text));
    socket.on('error', (error) => this.#waiting?.reject(error));
    socket.on('close', () => this.#waiting?.reject(new Error('a publisher was disconnected')));
    this.#socket = socket;
    return once(socket, 'connect');
  }

  #read(text) {
    this.#text += text;
    const end = this.#text.indexOf('\r\n\r\n');
    if (end === -1) return;
    const [, length = 0] = /\r\nContent-Length: (\d+)/i.exec(this.#text.slice(0, end + 2)) ?? [];
    const body = this.#text.slice(end + 4);
    if (body.length < Number(length)) return;
    const waiting = this.#waiting;
    const isSuccess = this.#text.startsWith('HTTP/1.1 2');
    if (!isSuccess)
      waiting?.reject(new Error(`publishing is answered: ${this.#text.slice(0, 600)}`));
    this.#text = '';
    this.#waiting = undefined;
    if (isSuccess) waiting?.resolve(body);
  }
}
