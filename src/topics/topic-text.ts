/**
 * What a template reads at once: one UTF-16 unit of a text, or a percent-encoded byte, which is never read in
 * part. Units are their codes; encoded bytes lie above them.
 */
export type Token = number;

const FIRST_ENCODED = 0x1_0000;
const PERCENT = 0x25;
/** Where the empty set is. */
const EMPTY = 0;
/** Room for the unions that a template usually asks for, before the sets have to grow. */
const SPARE_SETS = 4;
const CONTINUATION_DIGITS = '89ABab';

/** The token at an index of a text. */
export function tokenAt(text: string, index: number): Token {
  const code = text.charCodeAt(index);
  if (code !== PERCENT) return code;
  const high = text.charCodeAt(index + 1);
  const low = text.charCodeAt(index + 2);
  // Case counts: a literal `%c3` is not `%C3`.
  return isHex(high) && isHex(low) ? FIRST_ENCODED + high * 128 + low : code;
}

/** How many UTF-16 units of a text a token takes. */
export function widthOf(token: Token): 1 | 3 {
  return token < FIRST_ENCODED ? 1 : 3;
}

export function countTokens(text: string): number {
  let count = 0;
  for (let index = 0; index < text.length; index += widthOf(tokenAt(text, index))) count += 1;
  return count;
}

/**
 * A topic as templates are matched with it: for each token the places where it stands, as bits, so that 32
 * places of a topic are looked at in one step.
 */
export class TopicText {
  readonly #tokens: Token[] = [];
  /** How many words of 32 bits hold a bit for each place: before each token, and at the end. */
  readonly words: number;
  /** All sets of places, one after the other, each of `words`; first an empty one. */
  #sets: Int32Array;
  #used: number;
  /** Where the set of a token is. Most are ASCII, and are found without hashing. */
  readonly #byAscii = new Int32Array(128);
  readonly #byToken = new Map<Token, number>();
  readonly #byCharacters = new Map<string, number>();
  #continuations: number | undefined;

  constructor(topic: string) {
    const tokens = this.#tokens;
    for (let index = 0; index < topic.length; ) {
      const token = tokenAt(topic, index);
      tokens.push(token);
      index += widthOf(token);
    }
    this.words = (tokens.length >>> 5) + 1;
    this.#used = this.words;
    for (const token of tokens) {
      if (this.placesOf(token) !== EMPTY) continue;
      if (token < 128) this.#byAscii[token] = this.#used;
      this.#byToken.set(token, this.#used);
      this.#used += this.words;
    }
    this.#sets = new Int32Array(this.#used + SPARE_SETS * this.words);
    for (let place = 0; place < tokens.length; place++) {
      const set = this.placesOf(tokens[place] as Token);
      (this.#sets[set + (place >>> 5)] as number) |= 1 << (place & 31);
    }
  }

  /** How many tokens it has. */
  get length(): number {
    return this.#tokens.length;
  }

  /** Whether these tokens stand at a place. */
  hasAt(place: number, text: string): boolean {
    for (let index = 0; index < text.length; place++) {
      const token = tokenAt(text, index);
      if (this.#tokens[place] !== token) return false;
      index += widthOf(token);
    }
    return true;
  }

  /** What it takes at most, in bytes, with all unions that templates can ask for: fewer than 24. */
  get bytes(): number {
    const ofSets = 8 * (this.#sets.length + 24 * this.words);
    return 2_000 + 100 * this.#byToken.size + 8 * this.#tokens.length + ofSets;
  }

  /** Where the sets of places are: each at the index that the methods below return. */
  get sets(): Int32Array {
    return this.#sets;
  }

  /** The places of a token. */
  placesOf(token: Token): number {
    if (token < 128) return this.#byAscii[token] as number;
    return this.#byToken.get(token) ?? EMPTY;
  }

  /** The places of some ASCII characters and of all percent-encoded bytes. */
  placesOfAny(characters: string): number {
    let places = this.#byCharacters.get(characters);
    if (places === undefined) {
      places = this.#union((token) =>
        token < 128 ? characters.includes(String.fromCharCode(token)) : token >= FIRST_ENCODED,
      );
      this.#byCharacters.set(characters, places);
    }
    return places;
  }

  /** The places of encoded bytes that only continue a character of UTF-8: 80 to BF. */
  placesOfContinuations(): number {
    this.#continuations ??= this.#union(
      (token) =>
        token >= FIRST_ENCODED &&
        CONTINUATION_DIGITS.includes(String.fromCharCode((token - FIRST_ENCODED) >>> 7)),
    );
    return this.#continuations;
  }

  #union(includes: (token: Token) => boolean): number {
    const { words } = this;
    const union = this.#used;
    this.#used += words;
    if (this.#used > this.#sets.length) {
      const grown = new Int32Array(2 * this.#used);
      grown.set(this.#sets);
      this.#sets = grown;
    }
    for (const [token, set] of this.#byToken) {
      if (!includes(token)) continue;
      for (let word = 0; word < words; word++) {
        (this.#sets[union + word] as number) |= this.#sets[set + word] as number;
      }
    }
    return union;
  }
}

function isHex(code: number): boolean {
  return (
    (code >= 0x30 && code <= 0x39) ||
    (code >= 0x41 && code <= 0x46) ||
    (code >= 0x61 && code <= 0x66)
  );
}
