/**
 * Topic selectors. One matches a topic if it is `*`, if it equals the topic, or if it is a URI Template
 * (RFC 6570, all levels) that the topic could be an expansion of.
 *
 * Selectors and topics come from strangers. The matchers on npm backtrack or build regular expressions, which
 * a pattern can be made to stall. This one walks all ways through a template at once, so that its work is
 * at most in proportion to the topic's length times the selector's, whatever they are.
 */

/** A topic selector, ready to match. Immutable; one can be shared by all who use the same text. */
export interface Selector {
  readonly text: string;
  readonly kind: 'any' | 'exact' | 'template';
  /** How many variables its template has: what it costs to match goes with them. */
  readonly variables: number;
  /** What a topic that it matches starts with: one of these. */
  readonly prefixes: readonly string[];
  matches(topic: string): boolean;
}

export const MAX_SELECTOR_BYTES = 1_024;
export const MAX_TEMPLATE_VARIABLES = 20;

/** A selector that is too large. Its message is written for the one who sent it. */
export class SelectorError extends Error {
  readonly code = 'ERR_SELECTOR';
}

/**
 * Compiles a selector. What is not a valid URI Template only equals a topic.
 *
 * @throws {SelectorError} if it has more bytes or more variables than allowed.
 */
export function compileSelector(text: string): Selector {
  if (Buffer.byteLength(text) > MAX_SELECTOR_BYTES) {
    throw new SelectorError(
      `A topic selector is longer than the ${MAX_SELECTOR_BYTES} bytes allowed.`,
    );
  }
  if (text === '*') {
    return { text, kind: 'any', variables: 0, prefixes: [''], matches: () => true };
  }
  const template = parseTemplate(text);
  if (template === undefined) {
    const matches = (topic: string) => topic === text;
    return { text, kind: 'exact', variables: 0, prefixes: [text], matches };
  }
  return {
    text,
    kind: 'template',
    variables: template.expressions.flatMap(({ variables }) => variables).length,
    prefixes: template.literals[0] as Literal,
    matches: (topic) => topic === text || isExpansion(topic, template),
  };
}

/**
 * Whether any of the granted selectors covers a topic, or a selector that was asked for: two selectors
 * cover each other if their texts are equal, and else a grant matches the text as it would a topic.
 */
export function covers(granted: readonly Selector[], requested: string): boolean {
  return granted.some((selector) => selector.matches(requested));
}

/** Literals and expressions in turn: there is one literal more, and each may be empty. */
interface Template {
  readonly literals: readonly Literal[];
  readonly expressions: readonly Expression[];
}

/** The texts that a literal may have in a topic: as it was written, and as an expansion encodes it. */
type Literal = readonly string[];

interface Expression {
  /** What stands before the first variable that is defined, and between it and the next ones. */
  readonly first: string;
  readonly separator: string;
  readonly variables: readonly Variable[];
}

interface Variable {
  /** `name=` before the value, where the operator puts it there. */
  readonly label: string;
  /** What stands for the label and an empty value, where the operator has it so. */
  readonly ifEmpty: string | undefined;
  /** The characters that the value may have beside percent-encoded ones, and how many of both. */
  readonly characters: CharacterSet;
  readonly maxCharacters: number;
}

/** Not 0 at the codes of its characters, which are all ASCII. */
type CharacterSet = Uint8Array;

// RFC 6570, section 1.5.
const UNRESERVED = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~';
const RESERVED = ":/?#[]@!$&'()*+,;=";
const HEX = characterSet('0123456789ABCDEFabcdef');

interface Operator {
  readonly first: string;
  readonly separator: string;
  /** Values follow the names of their variables. */
  readonly named: boolean;
  readonly allowed: string;
}

// RFC 6570, appendix A. `=,!@|` are reserved for operators to come: a template with one of them is invalid.
const OPERATORS = new Map<string | undefined, Operator>([
  ['', { first: '', separator: ',', named: false, allowed: UNRESERVED }],
  ['+', { first: '', separator: ',', named: false, allowed: UNRESERVED + RESERVED }],
  ['#', { first: '#', separator: ',', named: false, allowed: UNRESERVED + RESERVED }],
  ['.', { first: '.', separator: '.', named: false, allowed: UNRESERVED }],
  ['/', { first: '/', separator: '/', named: false, allowed: UNRESERVED }],
  [';', { first: ';', separator: ';', named: true, allowed: UNRESERVED }],
  ['?', { first: '?', separator: '&', named: true, allowed: UNRESERVED }],
  ['&', { first: '&', separator: '&', named: true, allowed: UNRESERVED }],
]);

// Section 2.1, with the apostrophe that an erratum allows: no spaces, controls, braces or stray percent signs.
const LITERAL = /^(?:[!#$&-;=?-[\]_a-z~]|%[\dA-Fa-f]{2}|[\u{a0}-\u{d7ff}\u{e000}-\u{10ffff}])*$/u;
// Sections 2.2 to 2.4.
const EXPRESSION = /^\{([+#./;?&]?)([^{}]*)\}$/;
const VARIABLE = /^((?:\w|%[\dA-Fa-f]{2})(?:\.?(?:\w|%[\dA-Fa-f]{2}))*)(?::([1-9]\d{0,3})|(\*))?$/;

function parseTemplate(text: string): Template | undefined {
  const parts = text.split(/(\{[^{}]*\})/);
  if (parts.length === 1) return undefined;
  const literals = parts.filter((_, index) => index % 2 === 0);
  const expressions = parts.filter((_, index) => index % 2 === 1).map(parseExpression);
  if (!literals.every((literal) => LITERAL.test(literal))) return undefined;
  if (!expressions.every((expression) => expression !== undefined)) return undefined;

  const variables = expressions.flatMap((expression) => expression.variables);
  if (variables.length > MAX_TEMPLATE_VARIABLES) {
    throw new SelectorError(
      `A topic selector has more than the ${MAX_TEMPLATE_VARIABLES} variables allowed.`,
    );
  }
  return { literals: literals.map(spellings), expressions };
}

function spellings(literal: string): Literal {
  // Section 3.1: "…if not allowed, copied to the result as the sequence of pct-encoded triplets…"
  const encoded = literal.replace(/[^\x21-\x7e]+/gu, encodeURIComponent);
  return encoded === literal ? [literal] : [literal, encoded];
}

function parseExpression(text: string): Expression | undefined {
  const [, sign, list = ''] = EXPRESSION.exec(text) ?? [];
  const operator = OPERATORS.get(sign);
  if (operator === undefined) return undefined;
  const variables = list.split(',').map((variable) => parseVariable(variable, operator));
  if (!variables.every((variable) => variable !== undefined)) return undefined;
  return { first: operator.first, separator: operator.separator, variables };
}

function parseVariable(text: string, operator: Operator): Variable | undefined {
  const [, name, prefix, explode] = VARIABLE.exec(text) ?? [];
  if (name === undefined) return undefined;
  const { first, separator, named, allowed } = operator;
  if (explode !== undefined) {
    // Items, or `name=value` pairs under names that only the values tell, with separators between them.
    const characters = characterSet(`${allowed}=${separator}`);
    return { label: '', ifEmpty: undefined, characters, maxCharacters: Number.POSITIVE_INFINITY };
  }
  return {
    label: named ? `${name}=` : '',
    ifEmpty: first === ';' ? name : undefined,
    // Only a string has a prefix; without one the value may be a list, whose items a comma separates.
    characters: characterSet(prefix === undefined ? `${allowed},` : allowed),
    maxCharacters: Number(prefix ?? Number.POSITIVE_INFINITY),
  };
}

function characterSet(characters: string): CharacterSet {
  const set = new Uint8Array(128);
  for (const character of characters) set[character.charCodeAt(0)] = 1;
  return set;
}

/**
 * How far the topic can be read by a part of the template: not 0 at `n` if its first `n` characters can be
 * what the template has expanded to so far. Plain arrays: typed ones of a topic's length took three times as long.
 */
type Places = number[];

function isExpansion(topic: string, { literals, expressions }: Template): boolean {
  // Most topics are told apart here, before anything is allocated.
  if (!literals[0]?.some((text) => topic.startsWith(text))) return false;
  let places: Places = Array(topic.length + 1).fill(0);
  places[0] = 1;
  for (const [index, literal] of literals.entries()) {
    places = afterTexts(places, topic, literal);
    if (!places.includes(1)) return false;
    const expression = expressions[index];
    if (expression !== undefined) places = afterExpression(places, topic, expression);
  }
  return places[topic.length] !== 0;
}

function afterTexts(starts: Places, topic: string, texts: readonly string[]): Places {
  const ends: Places = Array(starts.length).fill(0);
  for (let at = 0; at < starts.length; at++) {
    if (starts[at] === 0) continue;
    for (const text of texts) {
      if (topic.startsWith(text, at)) ends[at + text.length] = 1;
    }
  }
  return ends;
}

/** Any of the variables may be undefined, and then leaves nothing; if all are, the expression does. */
function afterExpression(starts: Places, topic: string, expression: Expression): Places {
  const firsts = afterTexts(starts, topic, [expression.first]);
  let ends: Places = Array(starts.length).fill(0);
  for (const variable of expression.variables) {
    const nexts = afterTexts(ends, topic, [expression.separator]);
    ends = either(ends, afterVariable(either(firsts, nexts), topic, variable));
  }
  return either(starts, ends);
}

function afterVariable(starts: Places, topic: string, variable: Variable): Places {
  const ends = afterValue(afterTexts(starts, topic, [variable.label]), topic, variable);
  if (variable.ifEmpty === undefined) return ends;
  return either(ends, afterTexts(starts, topic, [variable.ifEmpty]));
}

function afterValue(starts: Places, topic: string, variable: Variable): Places {
  const { characters, maxCharacters } = variable;
  const limited = Number.isFinite(maxCharacters);
  // 1 and the fewest characters that the value can have up to a place: who has more cannot go farther.
  const places = starts.slice();
  for (let at = 0; at < topic.length; at++) {
    const place = places[at] as number;
    const width = place === 0 ? 0 : characterWidth(topic, at, characters);
    if (width === 0) continue;
    const next = limited && startsCharacter(topic, at) ? place + 1 : place;
    const known = places[at + width] as number;
    if (next <= maxCharacters + 1 && (known === 0 || next < known)) places[at + width] = next;
  }
  return places;
}

/** The width of the character at a place, 3 if it is percent-encoded; 0 if it is not one of the set. */
function characterWidth(topic: string, at: number, characters: CharacterSet): 0 | 1 | 3 {
  if (topic[at] !== '%') return characters[topic.charCodeAt(at)] ? 1 : 0;
  return HEX[topic.charCodeAt(at + 1)] && HEX[topic.charCodeAt(at + 2)] ? 3 : 0;
}

/** Section 2.4.1: a prefix counts Unicode characters, of which UTF-8's bytes 80 to BF only continue one. */
function startsCharacter(topic: string, at: number): boolean {
  return !(topic[at] === '%' && /[89ABab]/.test(topic[at + 1] as string));
}

function either(some: Places, others: Places): Places {
  const places = some.slice();
  for (let at = 0; at < places.length; at++) if (others[at] !== 0) places[at] = 1;
  return places;
}
