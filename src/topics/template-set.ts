import { LRUCache } from 'lru-cache';
import { ownCopy } from './own-copy.js';
import { PrefixIndex } from './prefix-index.js';
import type { Selector } from './selector.js';
import { type Meter, stepsOf } from './slice.js';

/** The members that have a template among their selectors. */
export interface TemplateMembers<Member> {
  readonly sequence: number;
  /** Both undefined once the last member has left: a record that still has it shall keep little. */
  selector: Selector | undefined;
  members: Set<Member> | undefined;
}

/** Which templates match a topic, as far as that is known. */
export interface TopicRecord<Member> {
  readonly topic: string;
  /** Those that match, and some that have left since. */
  matching: TemplateMembers<Member>[];
  /** Those that came up to this sequence number are known to match or not, or are among the untested. */
  through: number;
  /** The next ones to try, the first of them last. */
  untested: TemplateMembers<Member>[];
  /** How many matches it has been remembered with; undefined if it has not been. */
  remembered: number | undefined;
}

/** What is known of topics is remembered for this many of them … */
const MAX_TOPICS = 10_000;
/** … and in this many bytes. Strangers choose the templates and publishers the topics: both are bounded. */
const MAX_BYTES = 32 * 1024 * 1024;
const BYTES_PER_TOPIC = 300;
const BYTES_PER_CHARACTER = 2;
/** With what is left of a template that has gone. */
const BYTES_PER_MATCH = 64;

/**
 * Finds the templates that match a topic. Only those that start as it does are tried, each once: what is known
 * of a topic outlives the coming and going of templates.
 */
export class TemplateSet<Member> {
  readonly #templates = new Map<string, TemplateMembers<Member>>();
  readonly #byPrefix = new PrefixIndex<TemplateMembers<Member>>();
  /** The sequence number of the template that came last. */
  #newest = 0;
  readonly #records = new LRUCache<string, TopicRecord<Member>>({
    max: MAX_TOPICS,
    maxSize: MAX_BYTES,
    sizeCalculation: ({ topic, matching }) =>
      BYTES_PER_TOPIC + BYTES_PER_CHARACTER * topic.length + BYTES_PER_MATCH * matching.length,
  });

  get size(): number {
    return this.#templates.size;
  }

  add(selector: Selector, member: Member): void {
    let template = this.#templates.get(selector.text);
    if (template === undefined) {
      this.#newest += 1;
      template = { sequence: this.#newest, selector, members: new Set() };
      this.#templates.set(selector.text, template);
      this.#byPrefix.add(selector.prefixes, template);
    }
    template.members?.add(member);
  }

  delete({ text, prefixes }: Selector, member: Member): void {
    const template = this.#templates.get(text);
    if (template?.members === undefined) return;
    template.members.delete(member);
    if (template.members.size > 0) return;
    this.#templates.delete(text);
    this.#byPrefix.delete(prefixes, template);
    template.selector = undefined;
    template.members = undefined;
  }

  /** What is known of a topic; see {@link complete}. */
  recordOf(topic: string): TopicRecord<Member> {
    return (
      this.#records.get(topic) ?? {
        topic: ownCopy(topic),
        matching: [],
        through: 0,
        untested: [],
        remembered: undefined,
      }
    );
  }

  /**
   * Tries the templates that a record does not yet know. Returns false when the meter's slice is over before
   * all are known: then the next call goes on from there.
   */
  complete(record: TopicRecord<Member>, meter: Meter): boolean {
    const { topic } = record;
    while (record.through < this.#newest || record.untested.length > 0) {
      if (record.untested.length === 0) {
        record.untested = this.#byPrefix.candidates(topic, record.through).reverse();
        record.through = this.#newest;
      }
      for (let next = record.untested.pop(); next !== undefined; next = record.untested.pop()) {
        if (next.selector === undefined) continue;
        if (next.selector.matches(topic)) record.matching.push(next);
        if (meter.spend(stepsOf(next.selector.cost, topic))) return false;
      }
    }
    if (record.matching.some(hasLeft)) {
      record.matching = record.matching.filter((template) => !hasLeft(template));
    }
    this.#remember(record);
    return true;
  }

  /** The size of a record is taken when it is set: one that has changed is set anew. */
  #remember(record: TopicRecord<Member>): void {
    const { topic, matching } = record;
    if (record.remembered === matching.length) return;
    record.remembered = matching.length;
    this.#records.delete(topic);
    this.#records.set(topic, record);
  }
}

function hasLeft({ members }: TemplateMembers<unknown>): boolean {
  return members === undefined;
}
