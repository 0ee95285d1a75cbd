/**
 * Topic selectors. One matches a topic if it is `*`, if it equals the topic, or if it is a URI Template
 * (RFC 6570, all levels) that the topic could be an expansion of.
 *
 * Selectors and topics come from strangers. The matchers on npm backtrack or build regular expressions, which
 * a pattern can be made to stall. This one walks all ways through a template at once, so that its work is
 * at most in proportion to the topic's length times the selector's, whatever they are.
 */

import { LRUCache } from 'lru-cache';
import { costOf, isExpansion } from './expansion.js';
import { ownCopy } from './own-copy.js';
import { parseTemplate } from './template.js';

/** A topic selector, ready to match. Immutable; one can be shared by all who use the same text. */
export interface Selector {
  /** The selector as it was given. */
  readonly text: string;
  /** Whether it is `*`, a topic, or a URI template. */
  readonly kind: 'any' | 'exact' | 'template';
  /** How many variables its template has. */
  readonly variables: number;
  /**
   * What it takes at most to match one topic with its template; 0 without a template. A unit is one pass over
   * the topic: at most 100 ns for a topic of 1,024 bytes and 20 ns for one of 32.
   */
  readonly cost: number;
  /** What a topic that it matches starts with: one of these. */
  readonly prefixes: readonly string[];
  /** Whether it matches a topic. */
  matches(topic: string): boolean;
}

export const MAX_SELECTOR_BYTES = 1_024;
export const MAX_TEMPLATE_VARIABLES = 20;

/** A selector that is too large. Its message is written for the one who sent it. */
export class SelectorError extends Error {
  /** The same for all. */
  readonly code = 'ERR_SELECTOR';
}

/**
 * Compiles a selector. What is not a valid URI Template only equals a topic.
 *
 * @throws {SelectorError} if it has more bytes or more variables than allowed.
 */
export function compileSelector(text: string): Selector {
  const known = compiled.get(text);
  if (known !== undefined) return known;
  if (Buffer.byteLength(text) > MAX_SELECTOR_BYTES) {
    throw new SelectorError(
      `A topic selector is longer than the ${MAX_SELECTOR_BYTES} bytes allowed.`,
    );
  }
  const selector = compile(ownCopy(text));
  compiled.set(selector.text, selector);
  return selector;
}

/**
 * Whether any of the granted selectors covers a topic, or a selector that was asked for: two selectors
 * cover each other if their texts are equal, and else a grant matches the text as it would a topic.
 */
export function covers(granted: readonly Selector[], requested: string): boolean {
  return granted.some((selector) => selector.matches(requested));
}

/** What a compiled selector takes at most, in bytes: what was measured of several shapes. */
export function sizeOf({ text, variables }: Selector): number {
  return 1_000 + 8 * text.length + 150 * variables;
}

/** Connections with the same selectors share them. Those that were not used for longest leave first. */
const compiled = new LRUCache<string, Selector>({
  max: 10_000,
  maxSize: 4 * 1024 * 1024,
  sizeCalculation: sizeOf,
});

const ANY = { variables: 0, cost: 0, prefixes: [''], matches: () => true };

function compile(text: string): Selector {
  if (text === '*') return { text, kind: 'any', ...ANY };
  const template = parseTemplate(text);
  if (template === undefined) {
    const matches = (topic: string) => topic === text;
    return { text, kind: 'exact', variables: 0, cost: 0, prefixes: [text], matches };
  }
  const { length: variables } = template.expressions.flatMap((expression) => expression.variables);
  if (variables > MAX_TEMPLATE_VARIABLES) {
    throw new SelectorError(
      `A topic selector has more than the ${MAX_TEMPLATE_VARIABLES} variables allowed.`,
    );
  }
  return {
    text,
    kind: 'template',
    variables,
    cost: costOf(template),
    prefixes: template.literals[0]?.map((spelling) => spelling.text) ?? [],
    matches: (topic) => topic === text || isExpansion(topic, template),
  };
}
