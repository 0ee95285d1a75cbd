/** What an attack is made with: bounded sockets that vanish at its end, requests as bytes, and bad intentions. */
import { connect } from 'node:net';
import { objectionTo } from '../answers.js';
import { Random } from '../random.js';
import { token } from '../tokens.js';

const HUB = '/.well-known/mercure';
/** A socket's answers are looked at up to here; what comes after is an event stream's. */
const MAX_LOOKED_AT = 256 * 1024;
/** What of an answer is kept until it is judged. */
const MAX_EXCERPT = 2_000;
const ANSWER_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** Addresses that the hostile clients of a proxied run come from. */
const MAX_ADDRESSES = 5_000;

export class Kit {
  random;
  isRunning = true;
  /** A token that may publish to, and see, its own topics alone. */
  wild = token(
    { publish: ['https://wild.example/{+path}'], subscribe: ['https://wild.example/{+path}'] },
    { sub: 'wild' },
  );
  #parts;
  #sockets = new Set();
  #wakers = new Set();

  constructor(parts) {
    this.#parts = parts;
    this.random = new Random(parts.seed);
  }

  /** Ends the attack: whatever it waits for comes at once, and its connections are reset. */
  stop() {
    this.isRunning = false;
    for (const wake of this.#wakers) wake();
    for (const socket of this.#sockets) this.leave(socket);
  }

  /** Resolves when no connection of the attack is left. */
  async closed() {
    while (this.#sockets.size > 0) {
      for (const socket of this.#sockets) this.leave(socket);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  pause(milliseconds) {
    if (!this.isRunning) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#wakers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, milliseconds);
      this.#wakers.add(wake);
    });
  }

  /** Does something again and again, so many times a second, until the attack is over. */
  async often(perSecond, act) {
    const everyMs = Math.max(10, 1_000 / perSecond);
    const perTick = Math.max(1, Math.round((perSecond * everyMs) / 1_000));
    while (this.isRunning) {
      for (let count = 0; count < perTick && this.isRunning; count++) await act();
      await this.pause(everyMs);
    }
  }

  /** Does something so many times, some of them at a time. */
  async times(count, act, { atATime = 50 } = {}) {
    let next = 0;
    const inTurn = async () => {
      while (next < count && this.isRunning) await act(next++);
    };
    await Promise.all(Array.from({ length: Math.min(atATime, count) }, inTurn));
  }

  /** Another stranger's address, as a proxy tells it. */
  get address() {
    const number = this.random.int(0, MAX_ADDRESSES - 1);
    if (number % 5 === 0) return `2001:db8:${number.toString(16)}::${this.random.int(1, 9)}`;
    return `203.${number >> 8}.113.${number & 255}`;
  }

  /** The bytes of a request. */
  request(method, path, { headers = {}, body, version = '1.1' } = {}) {
    const content = body === undefined ? undefined : Buffer.from(body);
    const all = {
      Host: 'soak.example',
      ...(this.#parts.proxied && { 'X-Forwarded-For': this.address }),
      ...(content && { 'Content-Length': content.length }),
      ...headers,
    };
    const lines = Object.entries(all)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}: ${value}\r\n`);
    const head = Buffer.from(
      `${method} ${path} HTTP/${version}\r\n${lines.join('')}\r\n`,
      'latin1',
    );
    return content === undefined ? head : Buffer.concat([head, content]);
  }

  /** A token with just these grants. */
  tokenOf(mercure) {
    return token(mercure, { sub: 'wild' });
  }

  subscribeRequest(selectors, { parameters = '', headers, bearer } = {}) {
    const query = selectors.map((text) => `topic=${encodeURIComponent(text)}`).join('&');
    const authorization = bearer && { Authorization: `Bearer ${bearer}` };
    return this.request('GET', `${HUB}?${query}${parameters}`, {
      headers: { Accept: 'text/event-stream', ...authorization, ...headers },
    });
  }

  publishRequest(body, { type = 'application/x-www-form-urlencoded', headers, bearer } = {}) {
    return this.request('POST', HUB, {
      headers: { Authorization: `Bearer ${bearer ?? this.wild}`, 'Content-Type': type, ...headers },
      body,
    });
  }

  /**
   * Opens a connection and writes to it.
   *
   * @param options.reads whether what comes is read; `false` leaves it in the system's buffers.
   * @param options.untilAnswered waits for the first byte of an answer, as one does who does not want to be dropped
   *   by the system, which happens to connections beyond those that wait to be accepted.
   * @param options.leavesAfterMs resets the connection then.
   * @returns the socket, or undefined if there was none to be had.
   */
  open(bytes, { reads = true, untilAnswered = false, leavesAfterMs } = {}) {
    const { budget, port } = this.#parts;
    if (!this.isRunning || budget.open >= budget.max) return this.pause(50).then(() => undefined);
    budget.open += 1;
    return new Promise((resolve) => {
      const socket = connect({ host: '127.0.0.1', port, noDelay: true });
      this.#sockets.add(socket);
      const late = setTimeout(() => this.leave(socket), CONNECT_TIMEOUT_MS);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        clearTimeout(late);
        this.#sockets.delete(socket);
        budget.open -= 1;
        resolve(undefined);
      });
      socket.once('connect', () => {
        clearTimeout(late);
        if (bytes !== undefined) socket.write(bytes);
        if (leavesAfterMs !== undefined) setTimeout(() => this.leave(socket), leavesAfterMs);
        if (untilAnswered) socket.once('data', () => resolve(socket));
        else resolve(socket);
      });
      if (reads) this.#look(socket);
      else socket.pause();
    });
  }

  /** Writes when the connection takes it, so that what is sent does not pile up here. */
  async write(socket, bytes) {
    if (!socket?.writable) return false;
    if (!socket.write(bytes)) {
      await new Promise((resolve) => {
        const done = () => {
          socket.off('drain', done).off('close', done);
          this.#wakers.delete(done);
          resolve();
        };
        socket.on('drain', done).on('close', done);
        this.#wakers.add(done);
      });
    }
    return socket.writable;
  }

  /** Resets a connection. One that is not there yet could not be reset before it is. */
  leave(socket) {
    if (socket?.connecting) socket.destroy();
    else socket?.resetAndDestroy();
  }

  /** One request on a connection of its own. Resolves with the first answer's status, or undefined. */
  async ask(bytes) {
    const socket = await this.open(bytes);
    if (socket === undefined) return undefined;
    return new Promise((resolve) => {
      const late = setTimeout(() => this.leave(socket), ANSWER_TIMEOUT_MS);
      socket.once('answered', (status) => {
        resolve(status);
        // Time for the rest of the answer.
        setTimeout(() => this.leave(socket), 200);
      });
      socket.once('close', () => {
        clearTimeout(late);
        resolve(undefined);
      });
    });
  }

  /** Resolves when the connection is closed, or the attack over. */
  over(socket) {
    if (socket === undefined || socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => socket.once('close', resolve));
  }

  /** Counts the statuses on a connection, and keeps those that must not be. */
  #look(socket) {
    let looked = 0;
    let tail = '';
    let excerpt;
    const judge = () => {
      if (excerpt !== undefined) this.#judge(excerpt);
      excerpt = undefined;
    };
    socket.on('data', (chunk) => {
      if (excerpt !== undefined) excerpt += chunk.latin1Slice(0, MAX_EXCERPT);
      if (excerpt !== undefined && excerpt.length >= MAX_EXCERPT) judge();
      if (looked > MAX_LOOKED_AT) return;
      looked += chunk.length;
      const text = tail + chunk.latin1Slice();
      for (const match of text.matchAll(/HTTP\/1\.1 (\d{3}) /g)) {
        if (match.index + match[0].length <= tail.length) continue;
        this.#count(match[1]);
        socket.emit('answered', Number(match[1]));
        if (match[1] >= '500') {
          judge();
          excerpt = text.slice(match.index, match.index + MAX_EXCERPT);
        }
      }
      tail = text.slice(-16);
    });
    socket.once('close', judge);
  }

  #count(status) {
    const { answers, name } = this.#parts;
    answers.statuses[name] ??= {};
    answers.statuses[name][status] = (answers.statuses[name][status] ?? 0) + 1;
  }

  #judge(excerpt) {
    const [head, ...rest] = excerpt.split('\r\n\r\n');
    const header = (name) => new RegExp(`^${name}: (.*)$`, 'im').exec(head)?.[1].trim();
    const objection = objectionTo({
      status: Number(head.slice(9, 12)),
      retryAfter: header('Retry-After'),
      type: header('Content-Type'),
      text: rest.join('\r\n\r\n').split('HTTP/1.1 ')[0],
    });
    if (objection === undefined) return;
    const { answers, name } = this.#parts;
    const text = `${name}: ${objection}`;
    answers.objections[text] = (answers.objections[text] ?? 0) + 1;
  }
}
