/** An honest publisher: a steady rate, whatever becomes of the answers, and each update again until it has one. */
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { publisherToken, randomTopic } from './world.js';

const PATH = '/.well-known/mercure';
const TIMEOUT_MS = 15_000;
/** Requests without an answer, beyond which a tick is skipped. */
const MAX_UNANSWERED = 50;
const UPDATES_PER_NDJSON = 5;
/** A Retry-After is obeyed up to here, so that what is missed is known before the end. */
const MAX_RETRY_MS = 3_000;
const MAX_PADDING = 400;
/** Once in a while an update is this large. */
const LARGE_PADDING = 20_000;

export class Publisher {
  #agent = new Agent({ keepAlive: true, maxSockets: MAX_UNANSWERED, maxFreeSockets: 2 });
  #unanswered = 0;
  #ownIds = 0;
  #timer;
  #parts;
  #stopped = false;

  /** @param parts what all publishers share: port, address headers, ledger, random; and what it is itself. */
  constructor(parts) {
    this.#parts = parts;
  }

  get unanswered() {
    return this.#unanswered;
  }

  start() {
    const { perSecond } = this.#parts.kind;
    this.#timer = setInterval(() => this.#tick(), 1_000 / perSecond);
  }

  stop() {
    clearInterval(this.#timer);
  }

  close() {
    this.stop();
    this.#stopped = true;
    this.#agent.destroy();
  }

  #tick() {
    const { ledger } = this.#parts;
    if (this.#unanswered >= MAX_UNANSWERED) {
      ledger.counts.skipped += 1;
      return;
    }
    this.#unanswered += 1;
    this.#publish()
      .catch((error) => ledger.fail('honest client', error.stack))
      .finally(() => {
        this.#unanswered -= 1;
      });
  }

  async #publish() {
    const { ledger, kind, random } = this.#parts;
    const records = Array.from(
      { length: kind.format === 'ndjson' ? UPDATES_PER_NDJSON : 1 },
      () => {
        const topics = [randomTopic(random)];
        if (random.chance(0.1)) topics.push(randomTopic(random));
        return ledger.write([...new Set(topics)], kind.isPrivate === true);
      },
    );
    ledger.counts.published += records.length;
    const body = this.#encode(records);
    // Two ways to ask again without publishing twice.
    const key = kind.ownIds ? {} : { 'Idempotency-Key': `${kind.name}:${records[0].number}` };
    const begun = performance.now();
    for (const record of records) {
      record.firstSentAt = begun;
      record.sentAt = begun;
    }
    while (!this.#stopped) {
      const sentAt = performance.now();
      const answer = await this.#send(body, key);
      if (answer.status !== undefined) ledger.answered.record(performance.now() - sentAt);
      if (answer.status === 200) {
        ledger.acknowledged.record(performance.now() - records[0].sentAt);
        ledger.acknowledge(
          records,
          kind.format === 'ndjson' ? JSON.parse(answer.text) : [answer.text],
        );
        return;
      }
      ledger.counts.retried += 1;
      if (answer.status === 429 || answer.status === 503) {
        ledger.counts.refused += 1;
        this.#parts.onProblem(`publisher ${kind.name}`, answer);
        await sleep(Math.min(1_000 * Number(answer.retryAfter ?? 1), MAX_RETRY_MS));
        // What it was refused until now is not the time that it took to be delivered.
        for (const record of records) record.sentAt = performance.now();
      } else if (answer.status !== undefined) {
        ledger.fail(
          'an honest publish was refused',
          `publisher ${kind.name}: ${answer.status} ${answer.text.slice(0, 300)}`,
        );
        return;
      } else {
        await sleep(100);
      }
    }
  }

  #encode(records) {
    const { kind } = this.#parts;
    if (kind.format === 'form') {
      const form = new URLSearchParams();
      for (const topic of records[0].topics) form.append('topic', topic);
      form.append('data', this.#data(records[0]));
      if (kind.isPrivate) form.append('private', 'on');
      return { type: 'application/x-www-form-urlencoded', text: form.toString() };
    }
    const objects = records.map((record) => {
      this.#ownIds += 1;
      const own = kind.ownIds ? { id: `order:${this.#ownIds}` } : {};
      return JSON.stringify({ topic: record.topics, data: this.#data(record), ...own });
    });
    const type = kind.format === 'json' ? 'application/json' : 'application/x-ndjson';
    return { type, text: objects.join('\n') };
  }

  #data(record) {
    const { ledger, random } = this.#parts;
    const length = random.chance(0.005) ? LARGE_PADDING : random.int(10, MAX_PADDING);
    return ledger.dataOf(record) + '.'.repeat(length);
  }

  /** Resolves with the answer, or with none if the connection broke or no answer came in time. */
  #send({ type, text }, key) {
    const { port, kind, headers } = this.#parts;
    return new Promise((resolve) => {
      const sent = request(
        {
          host: '127.0.0.1',
          port,
          path: PATH,
          method: 'POST',
          agent: this.#agent,
          headers: {
            ...headers,
            ...key,
            Authorization: `Bearer ${publisherToken(kind)}`,
            'Content-Type': type,
            'Content-Length': Buffer.byteLength(text),
          },
        },
        (response) => {
          let body = '';
          response.setEncoding('utf8').on('data', (part) => {
            body += part;
          });
          response.on('error', () => resolve({}));
          response.on('end', () =>
            resolve({
              status: response.statusCode,
              type: response.headers['content-type'],
              retryAfter: response.headers['retry-after'],
              text: body,
            }),
          );
        },
      );
      sent.setTimeout(TIMEOUT_MS, () => {
        ledger.counts.unanswered += 1;
        sent.destroy();
      });
      sent.on('error', () => resolve({})).on('close', () => resolve({}));
      sent.end(text);
    });
  }
}
