/**
 * Whether a topic could be an expansion of a template. All ways through the template are walked at once: a set
 * of places holds how far the topic can be read by the parts of the template so far, and each part moves the
 * whole set, 32 places in a step. So the work is bounded whatever the two are, and nothing is kept.
 */

import { LRUCache } from 'lru-cache';
import { ownCopy } from './own-copy.js';
import type { Expression, Literal, Spelling, Template, Variable } from './template.js';
import { countTokens, TopicText, tokenAt, widthOf } from './topic-text.js';

export function isExpansion(topic: string, template: Template): boolean {
  const { literals, between } = template;
  // Most topics are told apart here, before they are taken to pieces.
  const before = literals[0]?.find(({ text }) => topic.startsWith(text));
  if (before === undefined) return false;
  const after = literals.at(-1)?.find(({ text }) => topic.endsWith(text));
  if (after === undefined) return false;
  if (before.text.length + between + after.text.length > topic.length) return false;
  return new Walk(textOf(topic), before, after, between).isExpansion(template, after);
}

/**
 * What it takes at most to match a template: in passes over the places of a topic, of which each takes at most
 * 100 ns for a topic of 1,024 bytes and 20 ns for one of 32.
 */
export function costOf({ literals, expressions }: Template): number {
  const between = literals.slice(1, -1).flat();
  return (
    FIXED_PASSES +
    sum(between, ({ length }) => 2 + length) +
    sum(
      expressions,
      ({ first, separator, variables }) =>
        3 +
        first.length +
        sum(variables, ({ label, ifEmpty, maxCharacters }) => {
          const value = Number.isFinite(maxCharacters) ? COUNTING_PASSES : RUN_PASSES;
          const empty = ifEmpty === undefined ? 0 : 2 + countTokens(ifEmpty);
          return 3 + separator.length + countTokens(label) + value + empty;
        }),
    )
  );
}

/** Beside the passes for its parts: to look at the ends of the topic, and at the result. */
const FIXED_PASSES = 4;
/** A value takes longer than a literal's character … */
const RUN_PASSES = 3;
/** … above all one whose characters are counted: each is looked at. */
const COUNTING_PASSES = 20;

/** A topic is matched with many templates in a row, and so are all topics of an update: each is prepared once. */
const texts = new LRUCache<string, TopicText>({
  max: 128,
  maxSize: 4 * 1024 * 1024,
  sizeCalculation: ({ bytes }) => bytes,
});
/** Longer ones than can be published take more memory than shall be kept. */
const MAX_KEPT_LENGTH = 1_024;
let latest = { topic: '', text: new TopicText('') };

function textOf(topic: string): TopicText {
  if (latest.topic === topic) return latest.text;
  let text = texts.get(topic);
  if (text === undefined) {
    text = new TopicText(topic);
    if (topic.length <= MAX_KEPT_LENGTH) texts.set(ownCopy(topic), text);
  }
  latest = { topic, text };
  return text;
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

/** A set of places: bit `n` of it says that the first `n` tokens of the topic can be read. */
type Places = Int32Array;

/** Sets of places to work with; matching is synchronous, so all walks share them. */
let scratch: readonly Places[] = [];

function scratchOf(words: number): readonly Places[] {
  if (scratch.length === 0 || (scratch[0] as Places).length < words) {
    scratch = Array.from({ length: 5 }, () => new Int32Array(words));
  }
  return scratch;
}

/** One topic against one template, between what the template starts with and what it ends with. */
class Walk {
  readonly #text: TopicText;
  readonly #start: number;
  readonly #end: number;
  /**
   * No way is at a place before or after these: the literals that were read take some room, and so do those to
   * come. Only the words of this band are looked at.
   */
  #lowest: number;
  #highest: number;

  /** @param between how many tokens the literals between the first and the last have at least. */
  constructor(text: TopicText, before: Spelling, after: Spelling, between: number) {
    this.#text = text;
    this.#start = before.length;
    this.#end = text.length - after.length;
    this.#lowest = this.#start;
    this.#highest = this.#end - between;
  }

  isExpansion({ literals, expressions }: Template, after: Spelling): boolean {
    if (this.#highest < this.#lowest) return false;
    // `1` does not stand at the end of `%41`.
    if (!this.#text.hasAt(this.#end, after.text)) return false;
    const [places, ...others] = scratchOf(this.#text.words) as [Places, ...Places[]];
    this.#clear(places);
    places[this.#firstWord] = 1 << (this.#start & 31);
    for (const [index, expression] of expressions.entries()) {
      this.#readExpression(places, expression, others as [Places, Places, Places, Places]);
      if (index === expressions.length - 1) break;
      this.#readLiteral(places, literals[index + 1] as Literal, others[0] as Places);
      if (!this.#hasAny(places)) return false;
    }
    return ((places[this.#end >>> 5] as number) & (1 << (this.#end & 31))) !== 0;
  }

  get #firstWord(): number {
    return this.#lowest >>> 5;
  }

  get #lastWord(): number {
    return this.#highest >>> 5;
  }

  /** Any of the variables may be undefined, and then leaves nothing; if all are, the expression does. */
  #readExpression(
    places: Places,
    { first, separator, variables }: Expression,
    [firsts, ends, nexts, empties]: [Places, Places, Places, Places],
  ): void {
    this.#copy(places, firsts);
    this.#read(firsts, first);
    this.#clear(ends);
    let settled: Variable | undefined;
    for (const variable of variables) {
      // A variable like the one before that has added nothing adds nothing either.
      if (variable === settled) continue;
      this.#copy(ends, nexts);
      this.#read(nexts, separator);
      this.#add(firsts, nexts);
      if (variable.ifEmpty !== undefined) this.#copy(nexts, empties);
      this.#read(nexts, variable.label);
      this.#readValue(nexts, variable);
      let more = this.#add(nexts, ends);
      if (variable.ifEmpty !== undefined) {
        this.#read(empties, variable.ifEmpty);
        more = this.#add(empties, ends) || more;
      }
      settled = more ? undefined : variable;
    }
    this.#add(ends, places);
  }

  /** Moves the places past any spelling of a literal, and the band with them. */
  #readLiteral(places: Places, literal: Literal, starts: Places): void {
    const [written, encoded] = literal as [Spelling, Spelling | undefined];
    const shortest = Math.min(written.length, encoded?.length ?? written.length);
    const last = (this.#highest + shortest) >>> 5;
    places.fill(0, this.#lastWord + 1, last + 1);
    if (encoded !== undefined) {
      this.#copy(places, starts);
      starts.fill(0, this.#lastWord + 1, last + 1);
    }
    this.#read(places, written.text, shortest);
    if (encoded !== undefined) this.#read(starts, encoded.text, shortest);
    this.#lowest += shortest;
    this.#highest += shortest;
    if (encoded !== undefined) this.#add(starts, places);
  }

  /**
   * Moves the places past this text, where it stands; elsewhere it goes no farther.
   *
   * @param shift how many tokens the band moves with them, at most.
   */
  #read(places: Places, text: string, shift = 0): void {
    const { sets } = this.#text;
    let any = 1;
    for (let index = 0, read = 0; index < text.length && any !== 0; read++) {
      const token = tokenAt(text, index);
      index += widthOf(token);
      const set = this.#text.placesOf(token);
      const first = (this.#lowest + Math.min(read, shift)) >>> 5;
      const last = (this.#highest + Math.min(read + 1, shift)) >>> 5;
      any = 0;
      let carry = 0;
      for (let word = first; word <= last; word++) {
        const standing = (places[word] as number) & (sets[set + word] as number);
        places[word] = (standing << 1) | carry;
        carry = standing >>> 31;
        any |= standing;
      }
    }
  }

  /** Adds the places that a value which starts at the places can reach. */
  #readValue(places: Places, { characters, maxCharacters }: Variable): void {
    const set = this.#text.placesOfAny(characters);
    if (maxCharacters < this.#highest - this.#lowest) this.#readAtMost(maxCharacters, places, set);
    else this.#readAll(places, set);
  }

  /**
   * Where characters of the set stand in a run, it is a row of ones. Adding a one to its midst carries to the
   * end of the run: the bits that changed are the places that can be reached.
   */
  #readAll(places: Places, set: number): void {
    const { sets } = this.#text;
    let carry = 0;
    for (let word = this.#firstWord; word <= this.#lastWord; word++) {
      const runs = sets[set + word] as number;
      const starts = places[word] as number;
      const added = runs & starts;
      const total = (runs + added + carry) | 0;
      carry = ((runs & added) | ((runs | added) & ~total)) >>> 31;
      places[word] = (total ^ runs) | starts;
    }
  }

  /** The same for so many characters: those of the nearest start are the fewest, and so go farthest. */
  #readAtMost(maxCharacters: number, places: Places, set: number): void {
    const continuations = this.#text.placesOfContinuations();
    const { sets } = this.#text;
    let count = Number.POSITIVE_INFINITY;
    for (let word = this.#firstWord; word <= this.#lastWord; word++) {
      const starts = places[word] as number;
      if (starts === 0 && count > maxCharacters) continue;
      const allowed = sets[set + word] as number;
      const continued = sets[continuations + word] as number;
      let reached = 0;
      for (let bit = 1; bit !== 0; bit <<= 1) {
        if (starts & bit) count = 0;
        if (count <= maxCharacters) reached |= bit;
        // Section 2.4.1: a prefix counts Unicode characters, not the bytes that encode them.
        if (!(allowed & bit)) count = Number.POSITIVE_INFINITY;
        else if (!(continued & bit)) count += 1;
      }
      places[word] = reached;
    }
  }

  #clear(places: Places): void {
    places.fill(0, this.#firstWord, this.#lastWord + 1);
  }

  #copy(from: Places, to: Places): void {
    for (let word = this.#firstWord; word <= this.#lastWord; word++)
      to[word] = from[word] as number;
  }

  /** Adds places to others. Returns whether those are more now. */
  #add(some: Places, places: Places): boolean {
    let more = 0;
    for (let word = this.#firstWord; word <= this.#lastWord; word++) {
      const known = places[word] as number;
      const all = known | (some[word] as number);
      more |= all ^ known;
      places[word] = all;
    }
    return more !== 0;
  }

  #hasAny(places: Places): boolean {
    for (let word = this.#firstWord; word <= this.#lastWord; word++) {
      if (places[word] !== 0) return true;
    }
    return false;
  }
}
