/**
 * JSON from strangers: read in a time that goes with its length, and with every number kept as it is. `JSON.parse`
 * takes up to 0.1 s for 1 MB of keys or brackets, and turns `1e400` into null.
 */
import type { TimeSlice } from '../time-slice.js';

/** Arrays, objects and keys of one document, together. */
const MAX_JSON_PARTS = 20_000;
/** Levels of arrays and objects in each other. */
const MAX_JSON_DEPTH = 100;

/** A text that is no JSON, or has more to it than is read. */
export class JsonError extends Error {}

/** @throws {JsonError} */
export function parseJson(text: string): unknown {
  assertSize(text);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new JsonError(`The body is not valid JSON: ${(error as Error).message}`);
  }
}

/**
 * The first number of a JSON text that a double cannot hold, so that it would be sent as another one. Looks in slices
 * of time: half a million numbers take some 50 ms.
 */
export async function findInexactNumber(
  text: string,
  slice: TimeSlice,
): Promise<string | undefined> {
  for (let at = 0, numbers = 0; at < text.length; ) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = endOfString(text, at);
    } else if (code === MINUS || isDigit(code)) {
      const start = at;
      while (at < text.length && isOfNumber(text.charCodeAt(at))) at += 1;
      if (!isExact(text, start, at)) return text.slice(start, at);
      numbers += 1;
      if (numbers % NUMBERS_PER_LOOK === 0 && slice.isOver) await slice.next();
    } else {
      at += 1;
    }
  }
  return undefined;
}

/** Numbers between two looks at the clock. */
const NUMBERS_PER_LOOK = 1_000;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MINUS = 0x2d;
const LETTER_E = 0x65;
/** The bit that is set in ASCII's small letters. */
const LOWER_CASE = 0x20;

function assertSize(text: string): void {
  if (text.length < MAX_JSON_DEPTH) return;
  let parts = 0;
  let depth = 0;
  for (let at = 0; at < text.length; ) {
    switch (text[at]) {
      case '"':
        at = endOfString(text, at);
        continue;
      case '[':
      case '{':
        depth += 1;
        parts += 1;
        break;
      case ':':
        parts += 1;
        break;
      case ']':
      case '}':
        depth -= 1;
        break;
    }
    at += 1;
    if (depth > MAX_JSON_DEPTH) {
      throw new JsonError(`The JSON is nested more than the ${MAX_JSON_DEPTH} levels allowed.`);
    }
    if (parts > MAX_JSON_PARTS) {
      throw new JsonError(
        `The JSON has more than the ${MAX_JSON_PARTS} keys, arrays and objects allowed.`,
      );
    }
  }
}

/** Where a string that begins at a quote has ended. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return end + 1;
  }
  return text.length;
}

/** Characters of a number without an exponent whose digits every double keeps. */
const SAFE_CHARACTERS = 15;

/** Whether a number is sent with the value that it was written with; `1.0` and `1` have the same, as have 0 and `-0`. */
function isExact(text: string, start: number, end: number): boolean {
  let exponent = start;
  while (exponent < end && (text.charCodeAt(exponent) | LOWER_CASE) !== LETTER_E) exponent += 1;
  // With an exponent of two digits, and so few before it, it is far from what a double cannot hold.
  if (exponent - start <= SAFE_CHARACTERS && end - exponent <= 'e99'.length) return true;
  const number = text.slice(start, end);
  const value = Number(number);
  const sent = String(value);
  return sent === number || (Number.isFinite(value) && normalize(sent) === normalize(number));
}

/** A number as its digits, without zeros at either end, and the power of ten of the last. */
function normalize(number: string): string {
  const [, whole = '', fraction = '', exponent = '0'] =
    /^-?(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$/.exec(number) ?? [];
  const digits = (whole + fraction).replace(/^0+/, '');
  const significant = withoutTrailingZeros(digits);
  if (significant === '') return '0';
  return `${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`;
}

/** A regular expression would look at each run of zeros again from each of its zeros. */
function withoutTrailingZeros(digits: string): string {
  let end = digits.length;
  while (digits[end - 1] === '0') end -= 1;
  return digits.slice(0, end);
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

/** A digit, or one of `+-.eE`. */
function isOfNumber(code: number): boolean {
  return (
    isDigit(code) ||
    code === MINUS ||
    code === 0x2b ||
    code === 0x2e ||
    code === 0x45 ||
    code === 0x65
  );
}
