/**
 * Subscribers: raw sockets that share one read buffer. Events are counted for every client; a sample is read
 * in full: who published what, in which order, and when it arrived.
 *
 * Counting looks for the payload's marker. Where the next one is expected, by the distance of the last two, one
 * byte is looked at; a distance below two payloads has no room for a marker between, so this is exact.
 */
import { connect } from 'node:net';
import { subscribeRequest } from '../peers.js';
import { MARKER, PAYLOAD_BYTES, publisherAt, STAMP_BYTES, sequenceAt } from './payload.js';
import { Samples } from './samples.js';
import { WrongAnswer } from './wrong-answer.js';

const READ_BYTES = 64 * 1024;
const MAX_STRIDE = 2 * PAYLOAD_BYTES - 1;
const MAX_PUBLISHERS = 1_000;

/** What was published counts as lost when nothing at all has arrived for so long. */
const LOST_MS = 10_000;

export class Clients {
  /** Every event that any client has received. */
  received = 0;
  /** From publishing to here, in milliseconds, of every event of the sample while this is set. */
  latencies;
  #server;
  #publishers;
  #clients = [];
  #buffer = Buffer.alloc(READ_BYTES + 1);
  #stride = PAYLOAD_BYTES;
  #waiting;
  #failure;
  #closed = false;

  /** @param publishers who knows when what was published; undefined if latency is not measured. */
  constructor(server, publishers) {
    this.#server = server;
    this.#publishers = publishers;
  }

  get size() {
    return this.#clients.length;
  }

  /**
   * Opens connections and resolves when all have received the response's head.
   *
   * @param options.topicOf the topic selector of the n-th client.
   * @param options.sampleEvery one client of so many is read in full.
   * @param options.strict whether the sample receives all that each publisher sends, without a hole.
   * @param options.inFlight how many connections are being opened at a time.
   * @param options.sequences what the sample has received before, by publisher.
   */
  async open(count, options = {}) {
    const {
      topicOf = () => 'bench',
      sampleEvery = 50,
      strict = true,
      inFlight = 128,
      lastEventId,
      sequences = [],
    } = options;
    const first = this.size;
    let next = 0;
    const openInTurn = async () => {
      while (next < count && this.#failure === undefined) {
        const index = first + next++;
        const isSampled = index % sampleEvery === 0;
        const request = subscribeRequest(this.#server.peer, topicOf(index), { lastEventId });
        await this.#openOne({
          index,
          socket: undefined,
          opened: undefined,
          head: '',
          events: 0,
          isStrict: strict,
          sequences: isSampled
            ? Uint32Array.from({ length: MAX_PUBLISHERS, ...sequences })
            : undefined,
          rest: undefined,
          request,
        });
      }
    };
    await Promise.all(Array.from({ length: Math.min(inFlight, count) }, openInTurn));
    if (this.#failure) throw this.#failure;
  }

  /** Resolves when this many events have been received in all; rejects if there are more, or if they do not come. */
  whenReceived(total) {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.received >= total) return this.#exactly(total);
    return new Promise((resolve, reject) => {
      let last = this.received;
      const lost = setInterval(() => {
        if (this.received === last) {
          this.#fail(new WrongAnswer(`${total - this.received} of ${total} deliveries are lost`));
        }
        last = this.received;
      }, LOST_MS);
      const settle = (end) => (value) => {
        clearInterval(lost);
        this.#waiting = undefined;
        end(value);
      };
      this.#waiting = { total, resolve: settle(resolve), reject: settle(reject) };
    });
  }

  /** Stops reading from some clients, and reads on from them. */
  pause(isPaused) {
    for (const { index, socket } of this.#clients) if (isPaused(index)) socket.pause();
  }

  resume() {
    for (const { socket } of this.#clients) socket.resume();
  }

  /** Starts to record the latencies of the sample. */
  recordLatencies() {
    this.latencies = new Samples();
  }

  /**
   * Checks that every client has what it should, and the sample all of each publisher.
   *
   * @param eventsOf how many events the n-th client should have.
   * @param published how many each publisher has sent; only where the sample is strict.
   */
  check(eventsOf, published) {
    if (this.#failure) throw this.#failure;
    for (const { index, events, sequences, isStrict } of this.#clients) {
      if (events !== eventsOf(index)) {
        throw new WrongAnswer(`client ${index} has ${events} events, not ${eventsOf(index)}`);
      }
      if (sequences === undefined || !isStrict || published === undefined) continue;
      published.forEach((sent, publisher) => {
        if (sequences[publisher] === sent) return;
        throw new WrongAnswer(`client ${index} has not all of publisher ${publisher}`);
      });
    }
  }

  /** Closes all connections at once, by reset: thousands of them would occupy their ports for a minute. */
  close() {
    this.#closed = true;
    for (const { socket } of this.#clients) socket.resetAndDestroy();
    this.#clients = [];
  }

  #openOne(client) {
    return new Promise((resolve) => {
      client.opened = resolve;
      const socket = connect({
        host: '127.0.0.1',
        port: this.#server.port,
        noDelay: true,
        onread: {
          buffer: this.#buffer.subarray(0, READ_BYTES),
          callback: (length) => this.#read(client, length),
        },
      });
      client.socket = socket;
      this.#clients.push(client);
      socket.write(client.request);
      socket.on('error', (error) =>
        this.#fail(new Error(`client ${client.index}: ${error.message}`)),
      );
      socket.on('close', () => {
        if (!this.#closed) this.#fail(new WrongAnswer(`client ${client.index} was disconnected`));
        resolve();
      });
    });
  }

  #read(client, length) {
    const from = client.opened === undefined ? 0 : this.#readHead(client, length);
    if (client.sequences === undefined) this.#count(client, from, length);
    else this.#follow(client, from, length);
    const waiting = this.#waiting;
    if (waiting !== undefined && this.received >= waiting.total) {
      this.#exactly(waiting.total).then(waiting.resolve, waiting.reject);
    }
    return true;
  }

  /** Returns where the body starts. */
  #readHead(client, length) {
    const before = client.head.length;
    client.head += this.#buffer.latin1Slice(0, length);
    const end = client.head.indexOf('\r\n\r\n');
    if (end === -1) return length;
    if (!client.head.startsWith('HTTP/1.1 200 ')) {
      this.#fail(new Error(`client ${client.index} is answered: ${client.head.slice(0, 400)}`));
    }
    client.head = '';
    client.opened();
    client.opened = undefined;
    return end + 4 - before;
  }

  #count(client, from, length) {
    const buffer = this.#buffer;
    buffer[length] = MARKER; // Ends every search.
    let stride = this.#stride;
    let events = 0;
    let marker = buffer.indexOf(MARKER, from);
    while (marker < length) {
      events += 1;
      if (marker + stride < length && buffer[marker + stride] === MARKER) {
        marker += stride;
        continue;
      }
      if (marker + PAYLOAD_BYTES >= length) break;
      const next = buffer.indexOf(MARKER, marker + PAYLOAD_BYTES);
      if (next < length && next - marker <= MAX_STRIDE) stride = next - marker;
      marker = next;
    }
    this.#stride = stride;
    client.events += events;
    this.received += events;
  }

  #follow(client, from, length) {
    const now = performance.now();
    const fresh = this.#buffer.subarray(from, length);
    const buffer = client.rest === undefined ? fresh : Buffer.concat([client.rest, fresh]);
    client.rest = undefined;
    let marker = buffer.indexOf(MARKER);
    while (marker !== -1) {
      if (marker + STAMP_BYTES > buffer.length) {
        client.rest = Buffer.from(buffer.subarray(marker));
        return;
      }
      const publisher = publisherAt(buffer, marker);
      const sequence = sequenceAt(buffer, marker);
      const last = client.sequences[publisher];
      if (client.isStrict ? sequence !== last + 1 : sequence <= last) {
        this.#fail(
          new WrongAnswer(
            `client ${client.index} received ${sequence} after ${last} of publisher ${publisher}`,
          ),
        );
      }
      client.sequences[publisher] = sequence;
      client.events += 1;
      this.received += 1;
      this.latencies?.add(now - this.#publishers.sentAt(publisher, sequence));
      marker = buffer.indexOf(MARKER, marker + PAYLOAD_BYTES);
    }
  }

  #exactly(total) {
    if (this.received === total) return Promise.resolve();
    return Promise.reject(
      new WrongAnswer(`${this.received} deliveries instead of ${total}: something was repeated`),
    );
  }

  #fail(error) {
    if (this.#closed) return;
    this.#failure ??= error;
    this.#waiting?.reject(this.#failure);
    for (const client of this.#clients) client.opened?.();
  }
}
