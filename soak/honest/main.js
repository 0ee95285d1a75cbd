/** The process of the honest clients. Its parent asks how they are served. */
import { request } from 'node:http';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { objectionTo } from '../answers.js';
import { socketsOf } from '../processes.js';
import { answerQuestions } from '../questions.js';
import { Random } from '../random.js';
import { Ledger } from './ledger.js';
import { Publisher } from './publisher.js';
import { readJournal } from './replay.js';
import { Samples } from './samples.js';
import { Subscriber } from './subscriber.js';
import { crowdOf, publishers, subscribers } from './world.js';

const PROBE_EVERY_MS = 250;
const PROBE_TIMEOUT_MS = 10_000;
const CHECK_EVERY_MS = 1_000;
/** What is asked for takes at most so long. */
const SETTLE_MS = 30_000;
/** An open stream that is silent for so long has no heartbeats any more. */
const MAX_SILENCE_MS = 15_000;
/** What is queued for slow readers when publishing stops may take longer, as long as they get more of it. */
const MAX_SETTLE_MS = 300_000;

const ledger = new Ledger();
const probes = new Samples();
const delay = monitorEventLoopDelay({ resolution: 10 });
delay.enable();
let writers = [];
let readers = [];
let hasOutages = false;

answerQuestions({
  /**
   * @param crowd how many subscribers there are beside those of the world.
   * @param outages whether a 503 may have other reasons than a limit.
   */
  start({ port, seed, proxied, crowd = 0, outages = false }) {
    hasOutages = outages;
    const parts = (kind, index) => ({
      port,
      ledger,
      kind,
      random: new Random(`${seed} ${kind.name}`),
      headers: proxied ? { 'X-Forwarded-For': `198.51.100.${index + 1}` } : {},
      onProblem,
    });
    const kinds = [...subscribers, ...crowdOf(crowd, new Random(`${seed} crowd`))];
    readers = kinds.map((kind, index) => new Subscriber(parts(kind, index)));
    writers = publishers.map((kind, index) => new Publisher(parts(kind, kinds.length + index)));
    for (const client of [...readers, ...writers]) client.start();
    setInterval(check, CHECK_EVERY_MS);
    setInterval(
      () => probe(port, proxied ? { 'X-Forwarded-For': '198.51.100.254' } : {}),
      PROBE_EVERY_MS,
    );
  },

  /** Whether all subscribers stay, for a count of what they occupy. Resolves when they are there. */
  async stay(stays) {
    for (const reader of readers) reader.stay(stays);
    if (stays) await until(() => readers.every(({ isOpen }) => isOpen), SETTLE_MS);
    return {
      subscribers: readers.filter(({ isOpen }) => isOpen).length,
      sockets: socketsOf('self'),
    };
  },

  /** Whether times from now on count for the verdict. */
  judge(isJudged) {
    Samples.isJudged = isJudged;
  },

  /** How it was since this was last asked. */
  window() {
    const lag = delay.max / 1e6;
    delay.reset();
    return {
      latency: ledger.latency.takeWindow(),
      acknowledged: ledger.acknowledged.takeWindow(),
      probes: probes.takeWindow(),
      lag: Number.isFinite(lag) ? lag : 0,
      counts: ledger.counts,
      failures: Object.fromEntries(ledger.failures),
    };
  },

  /**
   * Publishes no more, waits for what is on its way, and tells how it was in all.
   *
   * @param nodes their ports: what each has in its journal is compared with what was received.
   */
  async finish({ nodes = [] } = {}) {
    for (const writer of writers) writer.stop();
    for (const reader of readers) {
      reader.stay(true);
      reader.hurry();
    }
    await until(() => writers.every(({ unanswered }) => unanswered === 0), SETTLE_MS);
    await settle();
    ledger.close();
    for (const port of nodes) {
      ledger.compare(`the node at port ${port}`, await readJournal(port, ledger));
    }
    for (const client of [...readers, ...writers]) client.close();
    return {
      latency: ledger.latency.all(),
      latencies: Object.fromEntries(
        [...ledger.latencies].map(([name, samples]) => [name, samples.all()]),
      ),
      acknowledged: ledger.acknowledged.all(),
      answered: ledger.answered.all(),
      probes: probes.all(),
      counts: ledger.counts,
      failures: Object.fromEntries(ledger.failures),
    };
  },
});

/** A 429 or a 503 for an honest client: it comes back. That it was told how is what is looked at. */
function onProblem(who, answer) {
  const objection = objectionTo(answer, { namesLimit: !hasOutages });
  if (objection !== undefined) ledger.fail('a 5xx that is not allowed', `${who}: ${objection}`);
}

function check() {
  ledger.check();
  for (const { isOpen, readAt, name } of readers) {
    if (isOpen && performance.now() - readAt > MAX_SILENCE_MS + CHECK_EVERY_MS) {
      ledger.fail('a stream without heartbeats', name);
    }
  }
}

/** `HEAD /` on a connection of its own, as a health check does it. */
function probe(port, headers) {
  const begun = performance.now();
  const asked = request({ host: '127.0.0.1', port, method: 'HEAD', headers, agent: false });
  asked.setTimeout(PROBE_TIMEOUT_MS, () => {
    ledger.fail('no answer to HEAD /', `in ${PROBE_TIMEOUT_MS / 1_000} seconds`);
    asked.destroy();
  });
  asked.on('response', (response) => {
    response.resume();
    if (response.statusCode === 200) probes.record(performance.now() - begun);
    else ledger.counts.refused += 1;
  });
  asked.on('error', () => {
    ledger.counts.refused += 1;
  });
  asked.end();
}

/** Waits until everybody has everything, or has got nothing more for a while. */
async function settle() {
  const deadline = performance.now() + MAX_SETTLE_MS;
  let received;
  do {
    received = updatesReceived();
    await until(() => ledger.isSettled() || updatesReceived() > received, SETTLE_MS);
  } while (!ledger.isSettled() && updatesReceived() > received && performance.now() < deadline);
}

function updatesReceived() {
  return readers.reduce((sum, { updates }) => sum + updates, 0);
}

async function until(isTrue, withinMs) {
  const deadline = performance.now() + withinMs;
  while (!isTrue() && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
