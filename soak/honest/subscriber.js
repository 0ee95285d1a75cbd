/** An honest subscriber: keeps its last id, comes back with it, and holds the service to what it promises. */
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { positionOf } from './ledger.js';
import { subscriberToken, wants } from './world.js';

const MAX_RETRY_MS = 3_000;
const RECONNECT_MS = 200;
/** Received updates that a subscriber which goes back can choose from. */
const MAX_HISTORY = 10_000;

export class Subscriber {
  /** Whether it has an open stream. */
  isOpen = false;
  /** When it has last read something of it, heartbeats too. */
  readAt = 0;
  /** How many updates it has been sent, strangers' among them. */
  updates = 0;
  #parts;
  #kind;
  #account;
  #lastEventId;
  #lastOfHub = [0, 0];
  /** What it has received, if it goes back; and where in it the stream stands. */
  #history = [];
  #at = 0;
  /** Which updates have had an id that a publisher has chosen: honest ones' (1), strangers' (2), or both (3). */
  #ownIds = new Map();
  /** Whether it was told of a gap before what it is sent next. */
  #isPastGap = false;
  #readEveryMs;
  #response;
  #rest = '';
  #stays = false;
  #closed = false;
  #drop;
  #wake = () => undefined;

  /** @param parts what all subscribers share: port, address headers, ledger; its random; and what it is itself. */
  constructor(parts) {
    this.#parts = parts;
    this.#kind = parts.kind;
    this.#readEveryMs = parts.kind.readEveryMs;
    const { name, isReference } = parts.kind;
    this.#account = parts.ledger.openAccount(name, (record) => wants(parts.kind, record), {
      isReference,
    });
  }

  get name() {
    return this.#kind.name;
  }

  start() {
    this.#live().catch((error) => this.#parts.ledger.fail('honest client', error.stack));
  }

  /** From now on it stays connected, or comes and goes again as its kind is. */
  stay(stays) {
    this.#stays = stays;
    clearTimeout(this.#drop);
    if (stays) this.#wake();
    else if (this.isOpen) this.#dropLater();
  }

  /** From now on it reads as fast as it can, and gets what was queued for it. */
  hurry() {
    this.#readEveryMs = undefined;
    this.#response?.resume();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#drop);
    this.#response?.destroy();
    this.#wake();
  }

  async #live() {
    const { random } = this.#parts;
    while (!this.#closed) {
      const { dropped, retryMs } = await this.#connect();
      if (this.#closed) return;
      if (!dropped || this.#stays) await sleep(retryMs ?? RECONNECT_MS);
      else await this.#away(random.int(...this.#kind.awayMs));
      if (this.#kind.goesBack && this.#history.length > 0) this.#goBack();
    }
  }

  /** Resolves when the stream is over: whether it was dropped here, or how long to wait for another try. */
  #connect() {
    const { port, headers, ledger, onProblem } = this.#parts;
    const query = this.#kind.asks.map(({ text }) => `topic=${encodeURIComponent(text)}`).join('&');
    const token = subscriberToken(this.#kind);
    return new Promise((resolve) => {
      const asked = request({
        host: '127.0.0.1',
        port,
        path: `/.well-known/mercure?${query}`,
        agent: false,
        headers: {
          ...headers,
          Accept: 'text/event-stream',
          ...(token && { Authorization: `Bearer ${token}` }),
          ...(this.#lastEventId && { 'Last-Event-ID': this.#lastEventId }),
        },
      });
      asked.on('error', () => resolve({ dropped: false }));
      asked.on('response', (response) => {
        const { statusCode: status } = response;
        if (status === 200) {
          this.#read(response, resolve);
          return;
        }
        let text = '';
        response.setEncoding('utf8').on('data', (part) => {
          text += part;
        });
        response.on('close', () => {
          const retryAfter = response.headers['retry-after'];
          ledger.counts.refused += 1;
          if (status === 429 || status === 503) {
            onProblem(`subscriber ${this.#kind.name}`, {
              status,
              retryAfter,
              type: response.headers['content-type'],
              text,
            });
          } else {
            ledger.fail(
              'an honest subscriber was refused',
              `${this.#kind.name}: ${status} ${text}`,
            );
          }
          resolve({ dropped: false, retryMs: Math.min(1_000 * (retryAfter ?? 1), MAX_RETRY_MS) });
        });
      });
      asked.end();
    });
  }

  #read(response, over) {
    const { ledger } = this.#parts;
    this.#response = response;
    this.#rest = '';
    this.isOpen = true;
    this.readAt = performance.now();
    if (this.#isAmbiguous(this.#lastEventId)) ledger.allowRepeats(this.#account);
    let isDropped = false;
    let pause;
    this.#onDrop = () => {
      isDropped = true;
      response.socket?.resetAndDestroy();
      response.destroy();
    };
    if (!this.#stays) this.#dropLater();
    response.setEncoding('utf8').on('data', (text) => {
      this.readAt = performance.now();
      this.#parse(text);
      if (this.#readEveryMs === undefined || pause !== undefined) return;
      // A proxy cuts what it passes on into many small pieces: those of one turn are read together.
      pause = setImmediate(() => {
        response.pause();
        setTimeout(() => {
          pause = undefined;
          response.resume();
        }, this.#readEveryMs);
      });
    });
    response.on('error', () => undefined);
    response.on('close', () => {
      this.isOpen = false;
      clearTimeout(this.#drop);
      if (!isDropped && !this.#closed) ledger.counts.cut += 1;
      over({ dropped: isDropped });
    });
  }

  #onDrop = () => undefined;

  #dropLater() {
    const { staysMs } = this.#kind;
    if (staysMs === undefined) return;
    this.#drop = setTimeout(() => this.#onDrop(), this.#parts.random.int(...staysMs));
  }

  #away(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Comes back with an older id: all after it must come again, the same as before. */
  #goBack() {
    const back = this.#parts.random.int(0, Math.min(this.#kind.goesBack, this.#history.length - 1));
    let index = this.#history.length - 1 - back;
    while (index > 0 && this.#isAmbiguous(this.#history[index].id)) index -= 1;
    this.#lastEventId = this.#history[index].id;
    this.#at = index + 1;
  }

  /**
   * Whether several publishers' updates that it was sent have had this id. The service goes on after the oldest that
   * the client has asked for.
   */
  #isAmbiguous(id) {
    return this.#ownIds.get(id) === 3;
  }

  #parse(text) {
    const frames = (this.#rest + text).split('\n\n');
    this.#rest = frames.pop();
    for (const frame of frames) this.#frame(frame);
  }

  #frame(frame) {
    let id;
    let event = 'message';
    let data;
    for (const line of frame.split('\n')) {
      if (line.startsWith('id: ')) id = line.slice(4);
      else if (line.startsWith('event: ')) event = line.slice(7);
      else if (line.startsWith('data: '))
        data = data === undefined ? line.slice(6) : `${data}\n${line.slice(6)}`;
    }
    if (id === undefined) {
      if (event === 'gap') this.#gap(data);
      return;
    }
    this.#lastEventId = id;
    // From here on it has a cursor to come back with, and is owed what follows.
    this.#account.openedAt ??= performance.now();
    if (data === undefined) return; // The frame that only says where the stream begins.
    this.updates += 1;
    const record = this.#parts.ledger.recordOf(data);
    if (positionOf(id) === undefined) {
      this.#ownIds.set(id, (this.#ownIds.get(id) ?? 0) | (record === undefined ? 2 : 1));
    }
    if (data.startsWith('forged ') && !this.#kind.asks.some(({ text }) => text === '*')) {
      this.#parts.ledger.fail('an update of somebody who may not publish it', this.#kind.name);
    }
    if (record !== undefined) this.#received(record, id);
  }

  /** What is trimmed is told to those who are behind. Nobody else may be told of anything. */
  #gap(data) {
    const { ledger } = this.#parts;
    const { reason, oldest } = JSON.parse(data);
    const { readEveryMs, staysMs } = this.#kind;
    const isBehind = readEveryMs !== undefined || staysMs !== undefined;
    if (reason !== 'trimmed' || !isBehind) {
      ledger.fail('gap', `${this.#kind.name}: ${data}`);
    } else {
      ledger.enterGap(this.#account, oldest);
      this.#isPastGap = true;
    }
  }

  /** Goes on after a gap: what was to come again is skipped up to an update that has come. */
  #skipTo({ number }) {
    this.#isPastGap = false;
    const index = this.#history.findIndex((known, at) => at >= this.#at && known.number === number);
    this.#at = index < 0 ? this.#history.length : index;
  }

  #received(record, id) {
    const { ledger } = this.#parts;
    if (this.#kind.goesBack) {
      if (this.#isPastGap) this.#skipTo(record);
      if (this.#at < this.#history.length) {
        const expected = this.#history[this.#at];
        this.#at += 1;
        if (expected.number !== record.number) {
          const example = `${this.#kind.name} got ${id} after going back, not ${expected.id}`;
          ledger.fail('repeated, missed or out of order', example);
        }
        return;
      }
      this.#history.push({ number: record.number, id });
      if (this.#history.length > 2 * MAX_HISTORY) this.#history.splice(0, MAX_HISTORY);
      this.#at = this.#history.length;
    }
    if (this.#kind.isReference) this.#checkId(id);
    ledger.enter(this.#account, record, id);
    const { readEveryMs, staysMs } = this.#kind;
    if (readEveryMs === undefined && staysMs === undefined) {
      ledger.received(this.#kind.name, performance.now() - record.sentAt);
    }
  }

  /** The hub's own ids grow. */
  #checkId(id) {
    const match = /^(\d+)-(\d+)$/.exec(id);
    if (match === null) return;
    const [epoch, sequence] = match.slice(1).map(Number);
    const [lastEpoch, lastSequence] = this.#lastOfHub;
    if (epoch < lastEpoch || (epoch === lastEpoch && sequence <= lastSequence)) {
      this.#parts.ledger.fail(
        'repeated or out of order',
        `${id} after ${lastEpoch}-${lastSequence}`,
      );
    }
    this.#lastOfHub = [epoch, sequence];
  }
}
