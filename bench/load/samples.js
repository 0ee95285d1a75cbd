/** Numbers, as many as come. */
export class Samples {
  #values = new Float64Array(1 << 16);
  size = 0;

  add(value) {
    if (this.size === this.#values.length) {
      const grown = new Float64Array(2 * this.size);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.size++] = value;
  }

  /** Those at these shares of all, in order: `[0.5, 0.99]` gives the median and the 99th percentile. */
  quantiles(shares) {
    const sorted = this.#values.subarray(0, this.size).sort();
    return shares.map((share) => sorted[Math.min(this.size - 1, Math.floor(share * this.size))]);
  }
}
