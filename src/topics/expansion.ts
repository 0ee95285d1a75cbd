/**
 * Whether a topic could be an expansion of a template. All ways through the template are walked at once: a set
 * of places holds how far the topic can be read by the parts of the template so far, and each part moves the
 * whole set, 32 places in a step. So the work is bounded whatever the two are, and nothing is kept.
 */

import type { Expression, Spelling, Template, Variable } from './template.js';
import { countTokens, TopicText, tokenAt, widthOf } from './topic-text.js';

export function isExpansion(topic: string, { literals, expressions }: Template): boolean {
  // Most topics are told apart here, before they are taken to pieces.
  const before = literals[0]?.find(({ text }) => topic.startsWith(text));
  if (before === undefined) return false;
  const after = literals.at(-1)?.find(({ text }) => topic.endsWith(text));
  if (after === undefined || before.text.length + after.text.length > topic.length) return false;
  return new Walk(textOf(topic), before, after).isExpansion(literals, expressions);
}

/**
 * What it takes at most to match a template: in passes over the places of a topic, of which each takes at most
 * 100 ns for a topic of 1,024 bytes and 10 ns for one of 32.
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
          const value = Number.isFinite(maxCharacters) ? COUNTING_PASSES : 1;
          const empty = ifEmpty === undefined ? 0 : 2 + countTokens(ifEmpty);
          return 3 + separator.length + countTokens(label) + value + empty;
        }),
    )
  );
}

/** Beside the passes for its parts: to look at the ends of the topic, and at the result. */
const FIXED_PASSES = 4;
/** To count the characters of a value takes a look at each of them. */
const COUNTING_PASSES = 40;

/** A topic is matched with many templates in a row: it is taken to pieces once. */
let latest = { topic: '', text: new TopicText('') };

function textOf(topic: string): TopicText {
  if (latest.topic !== topic) latest = { topic, text: new TopicText(topic) };
  return latest.text;
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
  readonly #after: Spelling;
  /** The words with places between start and end; the others are not looked at. */
  readonly #firstWord: number;
  readonly #lastWord: number;

  constructor(text: TopicText, before: Spelling, after: Spelling) {
    this.#text = text;
    this.#after = after;
    this.#start = before.length;
    this.#end = text.length - after.length;
    this.#firstWord = this.#start >>> 5;
    this.#lastWord = this.#end >>> 5;
  }

  isExpansion(literals: Template['literals'], expressions: readonly Expression[]): boolean {
    // `1` does not stand at the end of `%41`.
    if (!this.#text.hasAt(this.#end, this.#after.text)) return false;
    const [places, ...others] = scratchOf(this.#text.words) as [Places, ...Places[]];
    this.#clear(places);
    places[this.#firstWord] = 1 << (this.#start & 31);
    for (const [index, expression] of expressions.entries()) {
      this.#readExpression(places, expression, others as [Places, Places, Places, Places]);
      if (index === expressions.length - 1) break;
      this.#readAny(places, literals[index + 1] as readonly Spelling[], others[0] as Places);
      if (!this.#hasAny(places)) return false;
    }
    return ((places[this.#lastWord] as number) & (1 << (this.#end & 31))) !== 0;
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

  #readAny(places: Places, spellings: readonly Spelling[], starts: Places): void {
    const [written, encoded] = spellings;
    if (encoded !== undefined) this.#copy(places, starts);
    this.#read(places, written?.text ?? '');
    if (encoded === undefined) return;
    this.#read(starts, encoded.text);
    this.#add(starts, places);
  }

  /** Moves the places past this text, where it stands; elsewhere it goes no farther. */
  #read(places: Places, text: string): void {
    const { sets } = this.#text;
    let any = 1;
    for (let index = 0; index < text.length && any !== 0; ) {
      const token = tokenAt(text, index);
      index += widthOf(token);
      const set = this.#text.placesOf(token);
      any = 0;
      let carry = 0;
      for (let word = this.#firstWord; word <= this.#lastWord; word++) {
        const read = (places[word] as number) & (sets[set + word] as number);
        places[word] = (read << 1) | carry;
        carry = read >>> 31;
        any |= read;
      }
    }
  }

  /** Adds the places that a value which starts at the places can reach. */
  #readValue(places: Places, { characters, maxCharacters }: Variable): void {
    const set = this.#text.placesOfAny(characters);
    if (maxCharacters < this.#end - this.#start) this.#readAtMost(maxCharacters, places, set);
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
