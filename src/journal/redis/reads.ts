/** Reads the journal by its scripts, as far as one is asked for. */

import {
  comparePositions,
  type Ending,
  type Entry,
  type EntryRef,
  isPosition,
  type JournalSize,
  type Location,
  type NewestOptions,
  type Position,
  parsePosition,
  type ReadRange,
  type ReadResult,
  type TrimmedTopic,
  type Visibility,
} from '../journal.js';
import { mergeDistinct, TOPICS_PER_PAGE, trimmedIn } from '../select.js';
import { decodeEnding, decodeEntry } from './entry.js';
import { NoAnswerError } from './failures.js';
import { fromPlace, indexPrefix, MAX_KEY_BYTES, textOfPrefix, toPlace } from './keys.js';
import type { Line, Reply } from './line.js';
import { SCRIPTS, type Script } from './scripts.js';

/** A page of entries as a script gives it. */
export interface Page {
  readonly entries: readonly Entry[];
  readonly trimmed: Position | undefined;
  readonly trimmedTransient: Position | undefined;
  /** The newest position there is. */
  readonly last: Position;
  /** Up to where it was looked, if anywhere. */
  readonly reached: Position | undefined;
  /** Something was left out that no journal has written. */
  readonly isDamaged: boolean;
  readonly isMore: boolean;
}

/** At most so many entries, and bytes of data, in an answer of Redis: some milliseconds of its time. */
const PAGE_ENTRIES = 1000;
const PAGE_BYTES = 4 * 1024 * 1024;
/** So many topics are asked for in a script: some milliseconds. */
const TOPICS_AT_ONCE = 250;
const NEWEST_AT_ONCE = 100;
/** Endings are asked for in pages of so many: a millisecond. */
const ENDINGS_AT_ONCE = 250;

export class Reads {
  readonly #keys: readonly string[];
  readonly #line: () => Promise<Line>;

  /** @param line - the connection to read over. It rejects if there is none. */
  constructor(keys: readonly string[], line: () => Promise<Line>) {
    this.#keys = keys;
    this.#line = line;
  }

  /** See `Journal.read`. */
  async read(range: ReadRange): Promise<ReadResult> {
    const taken: Entry[] = [];
    let trimmed: Position | undefined;
    let trimmedTransient: Position | undefined;
    let isDamaged = false;
    let length = 0;
    let { after, from } = range;
    for (;;) {
      const rest = {
        ...range,
        after,
        from,
        maxEntries: range.maxEntries - taken.length,
        maxLength: range.maxLength - length,
      };
      const page =
        range.topics === undefined ? await this.page(rest) : await this.#pageOf(rest, range.topics);
      trimmed = page.trimmed;
      trimmedTransient = page.trimmedTransient;
      isDamaged ||= page.isDamaged;
      for (const entry of page.entries) {
        taken.push(entry);
        length += entry.data.length;
        if (taken.length >= range.maxEntries || length >= range.maxLength) break;
      }
      const isEnough = taken.length >= range.maxEntries || length >= range.maxLength;
      if (!page.isMore || (isEnough && taken.length > 0)) break;
      after = page.reached;
      from = undefined;
    }
    const result = { entries: taken, ...trimmedIn(range, trimmed, trimmedTransient) };
    return isDamaged ? { ...result, damaged: true } : result;
  }

  /** Reads entries of any topic. */
  async page(
    { after, from, through, maxEntries, maxLength }: ReadRange,
    line?: Line,
  ): Promise<Page> {
    const start = from ?? (after === undefined ? '-' : `(${after}`);
    const most = Math.min(maxEntries, PAGE_ENTRIES);
    const bytes = Math.min(maxLength, PAGE_BYTES);
    const args = [start, through ?? '+', `${most}`, `${bytes}`];
    const reply = await this.#run(SCRIPTS.read, args, line);
    return toPage(reply, reply[3] === 1);
  }

  /** Where the newest entry stands, and which generation of the journal it is. */
  async newestPosition(line?: Line): Promise<{ generation: string; last: Position }> {
    const [meta = ''] = this.#keys;
    const command = ['HMGET', meta, 'generation', 'last'];
    const reply = await this.#over(line, (each) => each.send(command));
    const [generation, last] = reply as readonly Reply[];
    return { generation: String(generation ?? ''), last: String(last ?? '0-0') };
  }

  /** See `Journal.newest`. */
  async newest(
    topics: readonly string[],
    { count, before, maxLength = Number.POSITIVE_INFINITY }: NewestOptions,
  ): Promise<readonly (readonly Entry[])[]> {
    const lists = topics.map((): Entry[] => []);
    if (count === 0) return lists;
    const prefixes = topics.map((topic) => (isKey(topic) ? indexPrefix('topic', topic) : ''));
    const wanted = [...prefixes.keys()].filter((n) => prefixes[n] !== '');
    for (let at = 0; at < wanted.length; at += NEWEST_AT_ONCE) {
      const some = wanted.slice(at, at + NEWEST_AT_ONCE);
      const options = [
        `${count}`,
        before === undefined ? '' : toPlace(before),
        `${Math.max(Math.min(maxLength, PAGE_BYTES), 1)}`,
      ];
      const reply = await this.#run(SCRIPTS.newest, [
        ...options,
        ...some.map((n) => prefixes[n] as string),
      ]);
      for (const [index, n] of some.entries()) {
        const isMore = reply[2 * index] === 1;
        const { entries } = decodeAll(reply[2 * index + 1]);
        lists[n] = await this.#newestOf(topics[n] as string, entries, isMore, { count, maxLength });
      }
    }
    return lists;
  }

  /** See `Journal.locate`. */
  async locate(id: string, admits: (entry: Visibility) => boolean): Promise<Location> {
    const prefix = isKey(id) ? indexPrefix('id', id) : indexPrefix('id', '');
    let place = '';
    for (;;) {
      const reply = await this.#run(SCRIPTS.locate, [prefix, place, isPosition(id) ? id : '']);
      const found = reply[12] as readonly string[];
      for (let n = 0; n < found.length; n += 2) {
        const position = found[n] as Position;
        const entry = decodeEntry(position, found[n + 1] as string, '', null);
        if (entry && admits(entry)) return { found: true, position };
      }
      const last = found.at(-2);
      if (last === undefined || reply[11] !== LOCATE_PAGE)
        return locateElsewhere(id, reply, admits);
      place = toPlace(last);
    }
  }

  /** See `Journal.topics`. */
  async *topics(): AsyncGenerator<readonly string[]> {
    let page: string[] = [];
    let last = '';
    for (;;) {
      const asked = Math.min(TOPICS_AT_ONCE, TOPICS_PER_PAGE - page.length);
      const prefixes = (await this.#run(SCRIPTS.topics, [last, `${asked}`])) as readonly string[];
      page.push(...prefixes.map(textOfPrefix));
      last = prefixes.at(-1) ?? last;
      const isLast = prefixes.length < asked;
      if (page.length > 0 && (isLast || page.length === TOPICS_PER_PAGE)) {
        yield page;
        page = [];
      }
      if (isLast) return;
    }
  }

  /**
   * See `Journal.endings`.
   *
   * @param now - the clock of a test.
   */
  async *endings(now: (() => number) | undefined): AsyncGenerator<readonly Ending[]> {
    let number = '0';
    for (;;) {
      const clock = now === undefined ? '' : `${now()}`;
      const args = [`${ENDINGS_AT_ONCE}`, number, clock];
      const [reached, isMore, list] = await this.#run(SCRIPTS.endings, args);
      const found = list as readonly Reply[];
      const page: Ending[] = [];
      for (let n = 0; n < found.length; n += ENDING_FIELDS) {
        const [position, value, ended] = found.slice(n, n + ENDING_FIELDS);
        page.push(decodeEnding(position as Position, value as string, ended as readonly number[]));
      }
      if (page.length > 0) yield page;
      if (isMore !== 1) return;
      number = String(reached);
    }
  }

  /** See `Journal.trimmedTopics`. */
  async trimmedTopics(
    after: Position,
    of?: readonly string[],
  ): Promise<readonly TrimmedTopic[] | undefined> {
    const isMissing = (newest: string): boolean =>
      newest !== '' && comparePositions(after, newest) < 0;
    // Without a topic to look for there is but one question.
    const asked = of?.length === 0 ? [''] : (of ?? []);
    const [through, found] = await this.#run(SCRIPTS.trimmedTopics, asked);
    if (isMissing(String(through ?? ''))) return undefined;
    const topics: TrimmedTopic[] = [];
    const list = found as readonly string[];
    for (let n = 0; n < list.length; n += 2) {
      const topic = list[n] as string;
      const [newestPublic = '', newestPrivate = ''] = (list[n + 1] as string).split(',');
      if (isMissing(newestPublic)) topics.push({ topic, private: false });
      if (isMissing(newestPrivate)) topics.push({ topic, private: true });
    }
    return topics;
  }

  /** See `Journal.bounds`. */
  async bounds(): Promise<{ oldest: EntryRef | undefined; head: EntryRef | undefined }> {
    const [oldest, oldestId, head, headId] = await this.#run(SCRIPTS.bounds, []);
    return { oldest: toRef(oldest, oldestId), head: toRef(head, headId) };
  }

  /**
   * See `Journal.measure`.
   *
   * @param now of tests: the clock in place of that of Redis.
   */
  async measure(now?: () => number): Promise<JournalSize> {
    const [updates, bytes, ageMs] = await this.#run(SCRIPTS.measure, now ? [`${now()}`] : []);
    const oldestAgeMs = ageMs === null ? undefined : Number(ageMs);
    return { updates: Number(updates), bytes: Number(bytes), oldestAgeMs };
  }

  /** Reads entries of topics: first where they stand, topic by topic, then what is needed of them. */
  async #pageOf(range: ReadRange, topics: readonly string[]): Promise<Page> {
    const prefixes = [...new Set(topics)].filter(isKey).map((each) => indexPrefix('topic', each));
    const most = Math.min(range.maxEntries, PAGE_ENTRIES);
    const asked = Math.max(Math.ceil((2 * most) / Math.max(prefixes.length, 1)), 16);
    const lists: Position[][] = [];
    for (let at = 0; at < prefixes.length; at += TOPICS_AT_ONCE) {
      const some = prefixes.slice(at, at + TOPICS_AT_ONCE);
      const reply = await this.#run(SCRIPTS.places, [`${asked}`, ...placesIn(range), ...some]);
      for (const places of reply as readonly (readonly string[])[])
        lists.push(places.map(fromPlace));
    }
    // Of a topic that has more, nothing is known after its last one here: all topics are read up to there.
    const ends = lists.filter((list) => list.length === asked).map((list) => list.at(-1) as string);
    const end = ends.sort(comparePositions)[0];
    const positions: Position[] = [];
    for (const position of mergeDistinct(lists, comparePositions)) {
      if (end !== undefined && comparePositions(position, end) > 0) break;
      positions.push(position);
      if (positions.length >= most) break;
    }
    const bytes = Math.max(Math.min(range.maxLength, PAGE_BYTES), 1);
    const reply = await this.#run(SCRIPTS.fetch, [`${bytes}`, ...positions]);
    const looked = Number(reply[3]);
    const isMore = looked < positions.length || positions.length >= most || end !== undefined;
    return { ...toPage(reply, isMore), reached: positions[looked - 1] ?? end };
  }

  /** Goes on where a script has stopped: it counts bytes, and the caller UTF-16 units. */
  async #newestOf(
    topic: string,
    newestFirst: readonly Entry[],
    isMore: boolean,
    { count, maxLength }: { count: number; maxLength: number },
  ): Promise<Entry[]> {
    const taken: Entry[] = [];
    let length = 0;
    for (const entry of newestFirst) {
      taken.push(entry);
      length += entry.data.length;
      if (taken.length >= count || length >= maxLength) return taken.reverse();
    }
    const before = taken.at(-1)?.position;
    if (!isMore || before === undefined) return taken.reverse();
    const [older = []] = await this.newest([topic], {
      count: count - taken.length,
      before,
      maxLength: maxLength - length,
    });
    return [...older, ...taken.reverse()];
  }

  async #run(script: Script, args: readonly string[], line?: Line): Promise<readonly Reply[]> {
    const reply = await this.#over(line, (each) => each.run(script, this.#keys, args));
    return reply as readonly Reply[];
  }

  /** Asks over a connection; over the one for reads once more, if that has ended before the answer came. */
  async #over(line: Line | undefined, ask: (line: Line) => Promise<Reply>): Promise<Reply> {
    if (line !== undefined) return ask(line);
    try {
      return await ask(await this.#line());
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
      return await ask(await this.#line());
    }
  }
}

/** As lua/read.ts has them. */
const LOCATE_PAGE = 100;
const FIELDS = 4;
const ENDING_FIELDS = 3;

function toPage(
  [trimmed, trimmedTransient, last, , found]: readonly Reply[],
  isMore: boolean,
): Page {
  return {
    ...decodeAll(found),
    trimmed: trimmed === null ? undefined : String(trimmed),
    trimmedTransient: trimmedTransient === null ? undefined : String(trimmedTransient),
    last: String(last ?? '0-0'),
    isMore,
  };
}

function decodeAll(found: Reply | undefined): Pick<Page, 'entries' | 'reached' | 'isDamaged'> {
  const list = found as readonly string[];
  const entries: Entry[] = [];
  for (let n = 0; n < list.length; n += FIELDS) {
    const [position = '', header = '', data = '', ownId = null] = list.slice(n, n + FIELDS);
    const entry = decodeEntry(position, header, data, ownId);
    if (entry !== undefined) entries.push(entry);
  }
  const isDamaged = entries.length * FIELDS < list.length;
  return { entries, reached: list.at(-FIELDS), isDamaged };
}

/** What is to be said of an id that no entry has which is admitted. */
function locateElsewhere(
  id: string,
  reply: readonly Reply[],
  admits: (entry: Visibility) => boolean,
): Location {
  const [first, last, through, trimmed, trimmedId, trimmedTopics, isPrivate] = reply;
  const unknown: Location = { found: false, reason: 'unknown' };
  if (typeof trimmed === 'string') {
    const seen = (): Visibility => ({
      topics: JSON.parse(String(trimmedTopics)) as string[],
      private: isPrivate === '1',
    });
    if (id === trimmed || (id === trimmedId && admits(seen()))) {
      return { found: true, position: trimmed };
    }
  }
  if (!isPosition(id) || typeof first !== 'string' || typeof last !== 'string') return unknown;
  const [, , , , , , , , isHeld, previous, following] = reply;
  if (isHeld === 1) return { found: true, position: id };
  // The second number of a position is that of the entry: so it lies between those of its neighbours.
  const [, number] = parsePosition(id);
  const isAmong =
    comparePositions(first, id) <= 0 &&
    comparePositions(id, last) <= 0 &&
    number >= parsePosition(first)[1] &&
    number <= parsePosition(last)[1] &&
    (typeof previous !== 'string' || number > parsePosition(previous)[1]) &&
    (typeof following !== 'string' || number < parsePosition(following)[1]);
  if (!isAmong) return unknown;
  const isPast = typeof through === 'string' && comparePositions(id, through) < 0;
  // What was trimmed after it is known by its topics.
  return isPast ? { found: false, reason: 'trimmed' } : { found: true, position: id };
}

/** After which place entries of a range stand, and through which; see lua/read.ts. */
function placesIn({ after, from, through }: ReadRange): [after: string, through: string] {
  const start =
    from === undefined ? `(${after === undefined ? '' : toPlace(after)}` : `[${toPlace(from)}`;
  return [start, through === undefined ? '' : toPlace(through)];
}

function toRef(position: Reply | undefined, id: Reply | undefined): EntryRef | undefined {
  if (typeof position !== 'string') return undefined;
  return { id: typeof id === 'string' ? id : position, position };
}

function isKey(text: string): boolean {
  return text !== '' && Buffer.byteLength(text) <= MAX_KEY_BYTES;
}
