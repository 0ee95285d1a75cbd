/**
 * One phase: a service, the honest clients, a while without attacks, attacks, a while without them.
 *
 * What the service occupies is compared at two moments at which the same honest clients are there: before the
 * attacks and after them.
 */
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { killClients, startClients } from './clients.js';
import { startService } from './service.js';
import { token } from './tokens.js';
import { leftOver } from './verdict.js';

const WINDOW_MS = 10_000;
/** Memory may take this long to come back once the hostile clients are gone. */
const SETTLE_MS = 30_000;
const SETTLE_STEP_MS = 5_000;
/** Updates of one body with which the journal is filled, and the topics that they are about. */
const FILL_UPDATES = 5_000;
const FILL_TOPICS = 20_000;
/** More Idempotency-Keys than are remembered, published by so many at a time. */
const REMEMBERED_KEYS = 36_000;
const PUBLISHERS = 32;
const FILLING = token({ publish: ['https://filling.example/{number}'] }, { sub: 'filling' });

/** Where the clients come from, and the settings that go with it. */
export const phases = {
  /** A proxy names every client's address: limits for each of them hold. */
  proxied: { proxied: true, settings: { TRUST_PROXY: '1' } },
  /** All have the address of this machine, and nothing is limited for it. */
  loopback: {
    proxied: false,
    settings: { RATE_LIMITS: 'off', MAX_CONNECTIONS_PER_ADDRESS: '0' },
  },
};

const services = new Set();

/** Ends every process of a phase, without waiting: for when this process ends. */
export function killAll() {
  killClients();
  for (const service of services) service.kill();
}

/**
 * @param options.names the attacks to choose from; none for honest clients alone.
 * @param options.lanes how many attacks there are at the same time.
 * @param options.onStart called with the service's process id.
 * @param options.onProgress called with each window of 10 seconds.
 */
export async function runPhase(name, options) {
  const { proxied, settings } = phases[name];
  const { seed, names, forMs, warmUpMs, fill, journal, onProgress } = options;
  const result = { phase: name, windows: [], minutes: (forMs + warmUpMs) / 60_000 };
  const begun = performance.now();
  const active = new Map();
  const recent = new Set();
  let service;
  let honest;
  let hostile;
  let windows;
  try {
    service = await startService({
      journal,
      settings: { JOURNAL_MAX_UPDATES: String(options.maxUpdates), ...settings },
    });
    services.add(service);
    options.onStart(service.pid);
    await fillJournal(service.port, fill);
    honest = startClients('honest/main.js');
    await honest.ask('start', { port: service.port, seed, proxied });

    let observing = Promise.resolve();
    const observe = async () => {
      const attacks = [...recent];
      recent.clear();
      for (const attack of active.keys()) recent.add(attack);
      const [window, stall] = await Promise.all([honest.ask('window'), service.stall()]);
      const at = Math.round((performance.now() - begun) / 1_000);
      const { failures, counts, ...times } = window;
      const entry = { at, attacks, ...times, stall, counts: { ...counts }, ...service.usage() };
      result.windows.push(entry);
      onProgress(entry, failures);
    };
    const observeInTurn = () => {
      observing = observing.then(observe).catch(() => undefined);
    };

    await sleep(warmUpMs);
    result.before = await measure(service, honest);
    await options.snapshot(service, 'before');
    await honest.ask('stay', false);
    // The first window is that of the warm-up, in which code is compiled: it is told, and not judged.
    await observe();
    result.warmUp = result.windows.pop();

    await honest.ask('judge', true);
    windows = setInterval(observeInTurn, WINDOW_MS);
    if (names.length === 0) {
      await untilEnded(service, sleep(forMs));
    } else {
      hostile = startClients('hostile/main.js', (told, value) => {
        if (told === 'begins') {
          active.set(value, (active.get(value) ?? 0) + 1);
          recent.add(value);
        } else if (told === 'ends') {
          if (active.get(value) > 1) active.set(value, active.get(value) - 1);
          else active.delete(value);
        } else if (told === 'broken') {
          result.broken = value;
        }
      });
      const lanes = Math.min(options.lanes, names.length);
      const run = { port: service.port, seed, proxied, names, lanes, forMs };
      result.hostile = await untilEnded(
        service,
        hostile.ask('run', run, { withinMs: forMs + 120_000 }),
      );
    }
    clearInterval(windows);
    await observing;
    await observe();
    await honest.ask('judge', false);

    hostile?.kill();
    result.after = await settled(service, honest, result.before, forMs);
    await options.snapshot(service, 'after');
    result.honest = await honest.ask('finish', undefined, { withinMs: 400_000 });
  } catch (error) {
    if (service?.exit === undefined) result.broken ??= error.stack;
  } finally {
    clearInterval(windows);
    hostile?.kill();
    if (result.honest === undefined) {
      // The service is gone or does not answer: what is known so far is worth telling.
      const last = await honest?.ask('window').catch(() => undefined);
      result.honest = last && { failures: last.failures, ...timesOf(last) };
    }
    honest?.kill();
    if (service !== undefined) {
      result.exit = service.exit;
      await service.stop();
      services.delete(service);
      const { lines, lineCount, unhandled } = service;
      result.log = { lines, lineCount, unhandled };
    }
  }
  return result;
}

function timesOf({ latency, acknowledged, probes, counts }) {
  return { latency, acknowledged, probes, counts };
}

/** What the service occupies while all honest subscribers, and nobody else, are there. */
async function measure(service, honest) {
  await honest.ask('stay', true);
  const occupied = await service.collected();
  const { subscribers: honestSubscribers, sockets } = await honest.ask('stay', true);
  const { descriptors } = service.usage();
  return {
    ...occupied,
    // Publishers have as many connections as they need at the moment.
    descriptors: descriptors - sockets,
    honestSubscribers,
    subscribers: await service.subscribers(),
  };
}

/** Measures until what has grown is back, or the time for it is over. */
async function settled(service, honest, before, forMs) {
  const deadline = performance.now() + SETTLE_MS;
  for (;;) {
    await sleep(Math.min(SETTLE_STEP_MS, forMs));
    const after = await measure(service, honest);
    if (leftOver(before, after).length === 0 || performance.now() > deadline) return after;
  }
}

/** Rejects if the service ends before the work is done. */
function untilEnded(service, work) {
  const ended = service.ended.then(() => {
    throw new Error('the service has ended');
  });
  return Promise.race([work, ended]);
}

/**
 * Fills the journal to its retention, so that replays are long and the oldest updates are trimmed. The updates are
 * small, of which the window in memory takes the most room: what comes later cannot make it grow. As many of them have
 * Idempotency-Keys as are remembered: honest publishers use such keys, too, and what is remembered of theirs would grow
 * in the run without strangers.
 */
async function fillJournal(port, count) {
  const agent = new Agent({ keepAlive: true, maxSockets: PUBLISHERS });
  const withKeys = Math.min(REMEMBERED_KEYS, Math.floor(count / 5));
  let next = 0;
  const publishOneByOne = async () => {
    while (next < withKeys) {
      const number = next++;
      await publish(agent, port, [number], { 'Idempotency-Key': `filling ${number}` });
    }
  };
  await Promise.all(Array.from({ length: PUBLISHERS }, publishOneByOne));
  while (next < count) {
    const size = Math.min(FILL_UPDATES, count - next);
    const first = next;
    next += size;
    await publish(
      agent,
      port,
      Array.from({ length: size }, (_, index) => first + index),
    );
  }
  agent.destroy();
}

async function publish(agent, port, numbers, headers = {}) {
  const lines = numbers.map((number) =>
    JSON.stringify({
      topic: `https://filling.example/${number % FILL_TOPICS}`,
      data: `filling ${number}`,
    }),
  );
  const asked = request({
    host: '127.0.0.1',
    port,
    path: '/hub',
    method: 'POST',
    agent,
    headers: {
      Authorization: `Bearer ${FILLING}`,
      'Content-Type': 'application/x-ndjson',
      ...headers,
    },
  }).end(lines.join('\n'));
  const [response] = await once(asked, 'response');
  response.resume();
  await once(response, 'end');
  if (response.statusCode !== 200) {
    throw new Error(`The journal cannot be filled: ${response.statusCode}.`);
  }
}
