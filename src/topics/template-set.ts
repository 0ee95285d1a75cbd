import { LRUCache } from 'lru-cache';
import { ownCopy } from './own-copy.js';
import { PrefixIndex } from './prefix-index.js';
import type { Selector } from './selector.js';

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
  /** The next ones to try, the first of them last. Some are put off from one update to the next. */
  untested: TemplateMembers<Member>[];
  /** How many templates it has been remembered with; undefined if it has not been. */
  remembered: number | undefined;
  /** Whether a search works with it. One that stopped may be anywhere in its lists. */
  isBorrowed: boolean;
}

/** What is known of topics is remembered for this many of them … */
const MAX_TOPICS = 10_000;
/** … and in this many bytes. Strangers choose the templates and publishers the topics: both are bounded. */
const MAX_BYTES = 8 * 1024 * 1024;
const BYTES_PER_TOPIC = 300;
const BYTES_PER_CHARACTER = 2;
/** With what is left of a template that has gone. */
const BYTES_PER_TEMPLATE = 64;

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
    sizeCalculation: (record) =>
      BYTES_PER_TOPIC +
      BYTES_PER_CHARACTER * record.topic.length +
      BYTES_PER_TEMPLATE * templatesIn(record),
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

  /**
   * What is known of a topic. The templates that may match it are in one of the two lists. Who has borrowed it takes
   * from the untested what it tries, adds what matches, and leaves the rest untested.
   */
  borrow(topic: string): TopicRecord<Member> {
    let record = this.#records.get(topic);
    if (record === undefined || record.isBorrowed) {
      record = {
        topic: ownCopy(topic),
        matching: [],
        through: 0,
        untested: [],
        remembered: undefined,
        isBorrowed: false,
      };
    }
    record.isBorrowed = true;
    if (record.matching.some(hasLeft)) {
      record.matching = record.matching.filter((template) => !hasLeft(template));
    }
    if (record.through < this.#newest) {
      const newer = this.#byPrefix.candidates(topic, record.through).reverse();
      record.untested = newer.concat(record.untested);
      record.through = this.#newest;
    }
    return record;
  }

  /** Remembers what is known of a topic now. */
  giveBack(record: TopicRecord<Member>): void {
    record.isBorrowed = false;
    // The size of a record is taken when it is set: one that has changed is set anew.
    const templates = templatesIn(record);
    if (record.remembered === templates) return;
    record.remembered = templates;
    this.#records.delete(record.topic);
    this.#records.set(record.topic, record);
  }
}

function templatesIn({ matching, untested }: TopicRecord<unknown>): number {
  return matching.length + untested.length;
}

function hasLeft({ members }: TemplateMembers<unknown>): boolean {
  return members === undefined;
}
