/**
 * Bytes that request bodies may hold, all together: from their first byte until they are answered. What is held is
 * counted, and not what was announced: a client that sends nothing holds nothing.
 */
export class BodyBudget {
  readonly maxBytes: number;
  readonly #whole: BodyBudget | undefined;
  #held = 0;

  /** @param whole the budget that this one is a part of. */
  constructor(maxBytes: number, whole?: BodyBudget) {
    this.maxBytes = maxBytes;
    this.#whole = whole;
  }

  get heldBytes(): number {
    return this.#held;
  }

  /** Takes so many more bytes. Returns false, and takes none, if they are not left. */
  hold(bytes: number): boolean {
    if (this.#held + bytes > this.maxBytes || this.#whole?.hold(bytes) === false) return false;
    this.#held += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#held -= bytes;
    this.#whole?.release(bytes);
  }
}
