/** URI Templates (RFC 6570, all levels): from their text to what an expansion of theirs consists of. */

import { countTokens } from './topic-text.js';

/** Literals and expressions in turn: there is one literal more, and each may be empty. */
export interface Template {
  readonly literals: readonly Literal[];
  readonly expressions: readonly Expression[];
  /** How many tokens the literals between the first and the last have at least. */
  readonly between: number;
}

/** The texts that a literal may have in a topic: as it was written, and as an expansion encodes it. */
export type Literal = readonly Spelling[];

export interface Spelling {
  readonly text: string;
  /** How many tokens it has. */
  readonly length: number;
}

export interface Expression {
  /** What stands before the first variable that is defined, and between it and the next ones. */
  readonly first: string;
  readonly separator: string;
  /** Variables that expand alike are one object. */
  readonly variables: readonly Variable[];
}

export interface Variable {
  /** `name=` before the value, where the operator puts it there. */
  readonly label: string;
  /** What stands for the label and an empty value, where the operator has it so. */
  readonly ifEmpty: string | undefined;
  /** The ASCII characters that the value may have beside percent-encoded ones, and how many of both. */
  readonly characters: string;
  readonly maxCharacters: number;
}

/** @returns undefined if the text is not a valid template, or has no expression. */
export function parseTemplate(text: string): Template | undefined {
  const parts = text.split(/(\{[^{}]*\})/);
  if (parts.length === 1) return undefined;
  const texts = parts.filter((_, index) => index % 2 === 0);
  const expressions = parts.filter((_, index) => index % 2 === 1).map(parseExpression);
  if (!texts.every((literal) => LITERAL.test(literal))) return undefined;
  if (!expressions.every((expression) => expression !== undefined)) return undefined;
  const literals = texts.map(spellings);
  const shortest = literals.map((literal) => Math.min(...literal.map(({ length }) => length)));
  const between = shortest.slice(1, -1).reduce((sum, length) => sum + length, 0);
  return { literals, expressions, between };
}

// RFC 6570, section 1.5.
const UNRESERVED = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~';
const RESERVED = ":/?#[]@!$&'()*+,;=";

interface Operator {
  readonly first: string;
  readonly separator: string;
  /** Values follow the names of their variables. */
  readonly named: boolean;
  /** What a string may consist of. */
  readonly characters: string;
  /** What a list may: a comma separates its items. */
  readonly listCharacters: string;
  /** A variable without name and prefix, as most are, and an exploded one: shared by all templates. */
  readonly unnamed: Variable;
  readonly exploded: Variable;
}

// RFC 6570, appendix A. `=,!@|` are reserved for operators to come: a template with one of them is invalid.
const OPERATORS = new Map<string | undefined, Operator>([
  ['', operator('', ',', false, UNRESERVED)],
  ['+', operator('', ',', false, UNRESERVED + RESERVED)],
  ['#', operator('#', ',', false, UNRESERVED + RESERVED)],
  ['.', operator('.', '.', false, UNRESERVED)],
  ['/', operator('/', '/', false, UNRESERVED)],
  [';', operator(';', ';', true, UNRESERVED)],
  ['?', operator('?', '&', true, UNRESERVED)],
  ['&', operator('&', '&', true, UNRESERVED)],
]);

function operator(first: string, separator: string, named: boolean, characters: string): Operator {
  const listCharacters = `${characters},`;
  return {
    first,
    separator,
    named,
    characters,
    listCharacters,
    unnamed: ofAnyLength('', undefined, listCharacters),
    // Items, or `name=value` pairs, with separators between them: the names are told by the values alone.
    exploded: ofAnyLength('', undefined, `${characters}=${separator}`),
  };
}

// Section 2.1, with the apostrophe that an erratum allows: no spaces, controls, braces or stray percent signs.
const LITERAL = /^(?:[!#$&-;=?-[\]_a-z~]|%[\dA-Fa-f]{2}|[\u{a0}-\u{d7ff}\u{e000}-\u{10ffff}])*$/u;
// Sections 2.2 to 2.4.
const EXPRESSION = /^\{([+#./;?&]?)([^{}]*)\}$/;
const VARIABLE = /^((?:\w|%[\dA-Fa-f]{2})(?:\.?(?:\w|%[\dA-Fa-f]{2}))*)(?::([1-9]\d{0,3})|(\*))?$/;

const NOTHING: Literal = [{ text: '', length: 0 }];

function spellings(literal: string): Literal {
  if (literal === '') return NOTHING;
  // Section 3.1: "…if not allowed, copied to the result as the sequence of pct-encoded triplets…"
  const encoded = literal.replace(/[^\x21-\x7e]+/gu, encodeURIComponent);
  const texts = encoded === literal ? [literal] : [literal, encoded];
  return texts.map((text) => ({ text, length: countTokens(text) }));
}

function parseExpression(text: string): Expression | undefined {
  const [, sign, list = ''] = EXPRESSION.exec(text) ?? [];
  const operator = OPERATORS.get(sign);
  if (operator === undefined) return undefined;
  const alike = new Map<string, Variable>();
  const variables = list.split(',').map((variable) => parseVariable(variable, operator, alike));
  if (!variables.every((variable) => variable !== undefined)) return undefined;
  return { first: operator.first, separator: operator.separator, variables };
}

function parseVariable(
  text: string,
  { first, named, characters, listCharacters, unnamed, exploded }: Operator,
  alike: Map<string, Variable>,
): Variable | undefined {
  const [, name, prefix, explode] = VARIABLE.exec(text) ?? [];
  if (name === undefined) return undefined;
  if (explode !== undefined) return exploded;
  if (!named && prefix === undefined) return unnamed;
  const key = named ? text : text.slice(name.length);
  let variable = alike.get(key);
  if (variable === undefined) {
    const label = named ? `${name}=` : '';
    const ifEmpty = first === ';' ? name : undefined;
    // Only a string has a prefix; without one the value may be a list.
    variable =
      prefix === undefined
        ? ofAnyLength(label, ifEmpty, listCharacters)
        : { label, ifEmpty, characters, maxCharacters: Number(prefix) };
    alike.set(key, variable);
  }
  return variable;
}

function ofAnyLength(label: string, ifEmpty: string | undefined, characters: string): Variable {
  return { label, ifEmpty, characters, maxCharacters: Number.POSITIVE_INFINITY };
}
