/** What must be so after a phase, as lines for what is not, and what is worth telling beside. */
import { WINDOWS_PER_MINUTE } from './honest/samples.js';

const MEGABYTE = 1024 * 1024;

/** Memory may be this much more than after the warm-up, or by the floor if that is more. */
const MAX_GROWTH = 1.2;
/** What the collector and the allocator keep, however small the service is. */
const HEAP_FLOOR_BYTES = 24 * MEGABYTE;
/** The window (WINDOW_MAX_BYTES) is on the heap while updates are small, and in buffers while they are large. */
const BUFFERS_FLOOR_BYTES = 64 * MEGABYTE;
const RESIDENT_FLOOR_BYTES = 96 * MEGABYTE;
/** Connections of publishers open and close while they are counted. What is left behind comes in hundreds. */
const SPARE_DESCRIPTORS = 50;

/** How honest clients are served. */
const SERVED = [
  ['publish to receive', 'latency'],
  ['HEAD /', 'probes'],
];

export function verdictOn(result, { maxP99, maxLogLines }) {
  const { exit, honest, hostile, before, after, log, minutes } = result;
  const failures = [];
  if (exit !== undefined && !exit.expected) {
    failures.push(`the process ended by itself: ${exit.signal ?? `exit code ${exit.code}`}`);
  }
  if (result.broken !== undefined) failures.push(`the soak could not go on: ${result.broken}`);
  for (const [kind, { count, examples }] of Object.entries(honest?.failures ?? {})) {
    failures.push(`honest clients: ${kind}, ${count} times: ${examples.slice(0, 2).join('; ')}`);
  }

  for (const [what, name] of SERVED) {
    if (honest !== undefined && honest[name].p99 > maxP99) {
      failures.push(`${what}: p99 ${Math.round(honest[name].p99)} ms, more than ${maxP99} ms`);
    }
  }

  for (const [text, count] of Object.entries(hostile?.objections ?? {})) {
    failures.push(`a 5xx that is not allowed, ${count} times: ${text}`);
  }
  if (log !== undefined) {
    if (log.unhandled.length > 0) {
      failures.push(
        `unhandled errors or stacks in the log: ${log.unhandled.slice(0, 3).join(' | ')}`,
      );
    }
    const perMinute = log.lineCount / Math.max(1, minutes);
    if (perMinute > maxLogLines) {
      failures.push(
        `the log grows by ${Math.round(perMinute)} lines a minute, more than ${maxLogLines}: ${log.lines[0]}`,
      );
    }
  }

  if (before !== undefined && after !== undefined) failures.push(...leftOver(before, after));
  return failures;
}

/** What hostile clients have left behind, of what the service occupies. */
export function leftOver(before, after) {
  const failures = [
    ...growth('heap after a collection', 'heapUsed', HEAP_FLOOR_BYTES, before, after),
    ...growth('buffers', 'external', BUFFERS_FLOOR_BYTES, before, after),
    ...growth('resident memory', 'anonymous', RESIDENT_FLOOR_BYTES, before, after),
  ];
  if (after.descriptors > before.descriptors + SPARE_DESCRIPTORS) {
    failures.push(
      `descriptors beside those of honest clients: ${before.descriptors} before, ${after.descriptors} after`,
    );
  }
  if (after.subscribers !== after.honestSubscribers) {
    failures.push(
      `the service counts ${after.subscribers} subscribers; ${after.honestSubscribers} are there`,
    );
  }
  return failures;
}

/** The minutes in which more than one of a hundred was late, the worst first, with what happened in them. */
export function lateMinutes({ windows }, { maxP99 }) {
  return SERVED.flatMap(([what, name]) =>
    minutesOf(windows, name)
      .filter(({ p99 }) => p99 > maxP99)
      .sort((a, b) => b.p99 - a.p99)
      .map(
        ({ p99, at, attacks }) =>
          `${what}: p99 ${Math.round(p99)} ms in the minute that ended at ${at} s, during ${attacks.join(', ') || 'no attack'}`,
      ),
  );
}

/** One minute after the other, and the last if half of it is new. Of a shorter time there is none: it is the whole. */
function minutesOf(windows, name) {
  return windows.flatMap((window, index) => {
    const begin = index + 1 - WINDOWS_PER_MINUTE;
    if (begin < 0) return [];
    const beyond = begin % WINDOWS_PER_MINUTE;
    const isLast = index === windows.length - 1 && beyond >= WINDOWS_PER_MINUTE / 2;
    if (beyond !== 0 && !isLast) return [];
    const attacks = windows.slice(begin, index + 1).flatMap((each) => each.attacks);
    return { p99: window[name].minute.p99, at: window.at, attacks: [...new Set(attacks)] };
  });
}

function growth(what, name, floor, before, after) {
  const allowed = Math.max(before[name] * MAX_GROWTH, before[name] + floor);
  if (after[name] <= allowed) return [];
  const megabytes = (bytes) => `${Math.round(bytes / MEGABYTE)} MB`;
  return [
    `${what}: ${megabytes(before[name])} before, ${megabytes(after[name])} after; ${megabytes(allowed)} are allowed`,
  ];
}
