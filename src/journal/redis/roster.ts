import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { JournalError } from '../journal.js';
import type { OnNotice } from '../notice.js';
import type {
  Departure,
  NoteResult,
  Roster,
  RosterEntry,
  RosterWatcher,
  Subscriber,
} from '../roster.js';
import { ALLOWED, parseAddress } from './address.js';
import { reasonText } from './failures.js';
import { RosterLink } from './roster-link.js';
import { ROSTER_SCRIPTS as SCRIPTS, type Script } from './scripts.js';
import { StandstillWatch } from './standstill.js';
import { redact } from './url.js';

export interface RedisRosterOptions {
  /** What the keys start with, within the braces that put all of them into one slot of a cluster. */
  readonly prefix: string;
  /** A node that has not beaten for so long is taken for dead. Default: 30,000. */
  readonly timeoutMs?: number;
  /** Told when the roster goes away and when it is back, a line each, with the name of what is alike. */
  readonly onNotice?: OnNotice | undefined;
}

/** Of what is stored. Nodes of different versions do not share a roster. */
const VERSION = '1';

/** Subscriptions of a page. With their payloads, which have up to 8 KiB each, it has 2 MB at most. */
const PAGE_SIZE = 200;

/** How often a node beats within the time after which it is taken for dead. */
const BEATS = 6;

/** How often a node that says that it goes has beaten. */
const GONE = '-1';

/** While the roster is away, it is tried again as often as that. */
const RETRY_MS = 1_000;

/**
 * Joins the roster that nodes share in Redis.
 *
 * @throws {JournalError} ERR_JOURNAL_OPEN: it cannot be reached, or nodes of another version share it.
 */
export async function openRedisRoster(url: string, options: RedisRosterOptions): Promise<Roster> {
  const address = parseAddress(url);
  if (address === undefined) {
    throw new JournalError('ERR_JOURNAL_OPEN', `Redis is at ${ALLOWED}, not ${redact(url)}.`);
  }
  const link = new RosterLink(address);
  const roster = new RedisRoster(link, options);
  try {
    await roster.join();
  } catch (error) {
    link.close();
    if (error instanceof JournalError) throw error;
    throw new JournalError(
      'ERR_JOURNAL_OPEN',
      `The subscriptions of all nodes cannot be kept at ${address.name}: ${reasonText(error)}`,
      { cause: error },
    );
  }
  return roster;
}

class RedisRoster implements Roster {
  readonly #link: RosterLink;
  readonly #prefix: string;
  readonly #timeoutMs: number;
  readonly #notify: OnNotice;
  readonly #nodesWatch: StandstillWatch;
  readonly #leftWatch: StandstillWatch;
  #watcher: RosterWatcher | undefined;
  /** The name of this node. It takes another one when it is expelled. */
  #node = nameNode();
  /** Its last change, and the one under way: whether Redis knows that one already cannot be told. */
  #change = '';
  #changeUnderWay: string | undefined;
  #isSettled = true;
  /** Why the roster is away, if it is. */
  #absence: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #rejoining: Promise<void> | undefined;
  #inheriting: Promise<void> | undefined;
  #isClosed = false;

  constructor(link: RosterLink, { prefix, timeoutMs = 30_000, onNotice }: RedisRosterOptions) {
    this.#link = link;
    this.#prefix = `{${prefix}}:roster`;
    this.#timeoutMs = timeoutMs;
    this.#notify = onNotice ?? (() => undefined);
    this.#nodesWatch = new StandstillWatch(timeoutMs);
    this.#leftWatch = new StandstillWatch(timeoutMs);
  }

  async join(): Promise<void> {
    await this.#join();
    this.#schedule(this.#beatMs);
  }

  watch(watcher: RosterWatcher): void {
    this.#watcher = watcher;
  }

  async note(starts: readonly Subscriber[], ends: readonly Subscriber[]): Promise<NoteResult> {
    const change = randomUUID();
    const node = this.#node;
    const keys = [this.#key('nodes'), ...this.#keysOf(node)];
    const args = [node, change, ...argumentsOf(starts, ends)];
    this.#changeUnderWay = change;
    for (;;) {
      this.#throwIfClosed();
      if (node !== this.#node) return { noted: false };
      try {
        const isNoted = await this.#run(SCRIPTS.note, keys, args);
        if (node !== this.#node) return { noted: false };
        if (isNoted === 1) break;
        await this.#rejoin();
      } catch (error) {
        this.#away(error);
        await delay(RETRY_MS, undefined, { ref: false });
      }
    }
    this.#change = change;
    this.#changeUnderWay = undefined;
    this.#isSettled = false;
    return { noted: true, key: idempotencyKey(change) };
  }

  settle(): void {
    this.#isSettled = true; // The next beat tells.
  }

  async *list(selector?: string): AsyncGenerator<RosterEntry[]> {
    const [from, to] = rangeOf(selector);
    for (const node of await this.#ask(() => this.#nodes())) {
      let after = from;
      let count: number;
      do {
        const page = await this.#ask(() => this.#page(node, after, to, PAGE_SIZE));
        count = page.length;
        after = `(${page.at(-1)?.member}`;
        yield page.map(({ entry }) => entry);
      } while (count === PAGE_SIZE);
    }
  }

  get(selector: string, subscriber: string): Promise<RosterEntry | undefined> {
    const bound = `[${memberOf(selector, subscriber)}`;
    return this.#ask(async () => {
      const nodes = await this.#nodes();
      const pages = await Promise.all(nodes.map((node) => this.#page(node, bound, bound, 1)));
      return pages.flat()[0]?.entry;
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    if (this.#absence === undefined) {
      // If it fails, the others find out by themselves.
      await this.#run(SCRIPTS.leave, [this.#key('nodes')], [this.#node]).catch(() => undefined);
    }
    this.#link.close();
  }

  get #beatMs(): number {
    return this.#timeoutMs / BEATS;
  }

  async #join(): Promise<void> {
    const keys = [this.#key('version'), this.#key('nodes')];
    const version = await this.#run(SCRIPTS.join, keys, [VERSION, this.#node]);
    if (version === VERSION) return;
    throw new JournalError(
      'ERR_JOURNAL_OPEN',
      `The subscriptions in Redis are in format ${version}, and this version knows ${VERSION}: ` +
        `stop the nodes of the other version, then remove ${this.#key('version')}.`,
    );
  }

  /** Begins anew, under another name. What was noted under the old one is left to whoever sees that it has gone. */
  #rejoin(): Promise<void> {
    this.#rejoining ??= (async () => {
      this.#node = nameNode();
      this.#change = '';
      this.#changeUnderWay = undefined;
      this.#isSettled = true;
      await this.#join();
      this.#notify({
        level: 'warn',
        event: 'roster-expelled',
        message: 'This node was taken for dead: its subscriptions are announced again.',
      });
      this.#watcher?.expelled();
    })().finally(() => {
      this.#rejoining = undefined;
    });
    return this.#rejoining;
  }

  #schedule(ms: number): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(async () => {
      try {
        await this.#beat();
        this.#back();
        this.#schedule(this.#beatMs);
      } catch (error) {
        this.#away(error);
        this.#schedule(Math.min(RETRY_MS, this.#beatMs));
      }
    }, ms).unref();
  }

  /** Says that this node lives, and looks who else does. */
  async #beat(): Promise<void> {
    const node = this.#node;
    const [notes] = this.#keysOf(node);
    const answer = await this.#run(
      SCRIPTS.beat,
      [this.#key('nodes'), this.#key('left'), notes],
      [node, this.#isSettled ? '1' : '0', this.#change, this.#changeUnderWay ?? this.#change],
    );
    if (node !== this.#node) return;
    if (answer === null) {
      await this.#rejoin();
      return;
    }
    const [nodes, left] = (answer as string[][]).map(pairsOf) as [Pairs, Pairs];
    const now = performance.now();
    const others = nodes.filter(([name]) => name !== node);
    const gone = new Set(this.#nodesWatch.look(others, now));
    for (const [name, count] of others) if (count === GONE) gone.add(name);
    const abandoned = new Set(this.#leftWatch.look(left, now));
    // One task at a time. What it does not come to is found at the next beat.
    this.#inheriting ??= this.#inherit([
      ...others.filter(([name]) => gone.has(name)).map((pair) => ['1', ...pair] as const),
      ...left.filter(([name]) => abandoned.has(name)).map((pair) => ['2', ...pair] as const),
    ]).finally(() => {
      this.#inheriting = undefined;
    });
  }

  /** Has the ends of what others have left published, unless somebody else was first. */
  async #inherit(found: readonly (readonly [hash: string, node: string, count: string])[]) {
    const watcher = this.#watcher;
    if (watcher === undefined) return;
    try {
      for (const [hash, node, count] of found) {
        const keys = [this.#key('nodes'), this.#key('left')];
        if ((await this.#run(SCRIPTS.claim, keys, [node, hash, count])) === 1) {
          await this.#publishLeft(node, watcher);
        }
      }
    } catch (error) {
      // It is found again, here or elsewhere, when nobody has worked on it for a while.
      this.#away(error);
    }
  }

  async #publishLeft(node: string, watcher: RosterWatcher): Promise<void> {
    let published = '';
    while (!this.#isClosed) {
      const keys = [this.#key('left'), ...this.#keysOf(node)];
      const answer = await this.#run(SCRIPTS.takeLeft, keys, [node, published, randomUUID()]);
      if (answer === null) return;
      const [change, ends] = answer as [string, string];
      await watcher.left(departureOf(change, ends));
      published = change;
    }
  }

  /** In an order that does not depend on who asks. */
  async #nodes(): Promise<string[]> {
    const nodes = (await this.#run(SCRIPTS.nodes, [this.#key('nodes')], [])) as string[];
    return nodes.sort();
  }

  async #page(node: string, from: string, to: string, size: number): Promise<Listed[]> {
    const [, subscriptions, payloads] = this.#keysOf(node);
    const answer = await this.#run(
      SCRIPTS.page,
      [subscriptions, payloads],
      [from, to, String(size)],
    );
    const [members, texts] = answer as [string[], (string | null)[]];
    return members.map((member, n) => ({ member, entry: entryOf(member, texts[n]) }));
  }

  #run(script: Script, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    return this.#link.run(script, keys, args);
  }

  /** Asks for what is listed; while the roster is away, without asking. */
  async #ask<T>(question: () => Promise<T>): Promise<T> {
    this.#throwIfClosed();
    let reason = this.#absence;
    if (reason === undefined) {
      try {
        return await question();
      } catch (error) {
        this.#away(error);
        reason = this.#absence;
      }
    }
    throw new JournalError(
      'ERR_JOURNAL_UNAVAILABLE',
      `The subscriptions cannot be read: Redis is not there for them. ${reason}`,
    );
  }

  #away(error: unknown): void {
    // Nobody could be seen: who has beaten meanwhile is not known.
    this.#nodesWatch.reset();
    this.#leftWatch.reset();
    if (this.#absence !== undefined || this.#isClosed) return;
    this.#absence = reasonText(error);
    this.#notify({
      level: 'error',
      event: 'roster-away',
      message: `Redis does not keep the subscriptions of this node: ${this.#absence}`,
    });
  }

  #back(): void {
    if (this.#absence === undefined) return;
    this.#absence = undefined;
    this.#notify({
      level: 'info',
      event: 'roster-back',
      message: 'Redis keeps the subscriptions of this node again.',
    });
  }

  #throwIfClosed(): void {
    if (this.#isClosed) throw new JournalError('ERR_JOURNAL_CLOSED', 'The roster is closed.');
  }

  #key(name: string): string {
    return `${this.#prefix}:${name}`;
  }

  /** NOTES, SUBSCRIPTIONS and PAYLOADS of a node. */
  #keysOf(node: string): [notes: string, subscriptions: string, payloads: string] {
    const key = (name: string) => this.#key(`${name}:${node}`);
    return [key('notes'), key('subscriptions'), key('payloads')];
  }
}

type Pairs = readonly (readonly [name: string, value: string])[];

interface Listed {
  readonly member: string;
  readonly entry: RosterEntry;
}

/** As the scripts read and write it. */
interface Ends {
  readonly ended: Members;
  /** Only of what a node has left. */
  readonly active?: Members;
  /** Of those of these subscribers that have one, as JSON. */
  readonly payloads: Readonly<Record<string, string>>;
}

/** An empty list may have become an empty object: Lua knows no difference. */
type Members = readonly string[] | Readonly<Record<string, never>>;

/** The lists of a change, as NOTE takes them. */
function argumentsOf(starts: readonly Subscriber[], ends: readonly Subscriber[]): string[] {
  const ended = ends.flatMap(membersOf);
  const payloads = payloadsOf(ends);
  const lists = [
    starts.flatMap(membersOf),
    ended,
    Object.entries(payloadsOf(starts)).flat(),
    Object.keys(payloads),
  ];
  const told: Ends = { ended, payloads };
  return [JSON.stringify(told), ...lists.flatMap((list) => [String(list.length), ...list])];
}

function membersOf({ name, selectors }: Subscriber): string[] {
  return selectors.map((selector) => memberOf(selector, name));
}

function payloadsOf(subscribers: readonly Subscriber[]): Record<string, string> {
  return Object.fromEntries(
    subscribers
      .filter(({ payload }) => payload !== undefined)
      .map(({ name, payload }) => [name, JSON.stringify(payload)]),
  );
}

function departureOf(change: string, json: string): Departure {
  const { ended, active, payloads } = JSON.parse(json) as Ends;
  const entries = (members: Members | undefined) =>
    Array.isArray(members)
      ? members.map((member) => entryOf(member, payloads[subscriberOf(member)]))
      : [];
  const key = idempotencyKey(change);
  return { key, ended: entries(ended), active: entries(active), otherKey: `${key} left` };
}

/** Percent-encoded, a selector has no slash: it ends at the first. */
function memberOf(selector: string, subscriber: string): string {
  return `${encodeURIComponent(selector)}/${subscriber}`;
}

function subscriberOf(member: string): string {
  return member.slice(member.indexOf('/') + 1);
}

function entryOf(member: string, payload: string | null | undefined): RosterEntry {
  const selector = decodeURIComponent(member.slice(0, member.indexOf('/')));
  const entry = { selector, subscriber: subscriberOf(member) };
  return payload == null ? entry : { ...entry, payload: JSON.parse(payload) };
}

/** Between which members all are, or those of a selector. */
function rangeOf(selector: string | undefined): [from: string, to: string] {
  if (selector === undefined) return ['-', '+'];
  const text = encodeURIComponent(selector);
  return [`[${text}/`, `(${text}${AFTER_SLASH}`];
}

const AFTER_SLASH = String.fromCharCode('/'.charCodeAt(0) + 1);

function pairsOf(flat: readonly string[]): Pairs {
  const pairs: [string, string][] = [];
  for (let n = 0; n < flat.length; n += 2) pairs.push([flat[n] as string, flat[n + 1] as string]);
  return pairs;
}

function idempotencyKey(change: string): string {
  return `subscriptions ${change}`;
}

function nameNode(): string {
  return randomUUID();
}
