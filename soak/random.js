/** Random choices that a seed repeats: mulberry32, which is enough for choosing and no more. */
export class Random {
  #state;

  /** @param seed a number or a text; equal seeds make equal choices. */
  constructor(seed) {
    this.#state = [...String(seed)].reduce(
      (hash, character) => Math.imul(hash ^ character.codePointAt(0), 0x01000193) >>> 0,
      0x811c9dc5,
    );
  }

  /** From 0 to below 1. */
  number() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number, both ends included. */
  int(min, max) {
    return min + Math.floor(this.number() * (max - min + 1));
  }

  chance(probability) {
    return this.number() < probability;
  }

  pick(list) {
    return list[this.int(0, list.length - 1)];
  }

  /** Lower-case letters and digits. */
  text(length) {
    let text = '';
    for (let index = 0; index < length; index++) text += this.int(0, 35).toString(36);
    return text;
  }

  bytes(length) {
    return Buffer.from(Uint8Array.from({ length }, () => this.int(0, 255)));
  }
}
