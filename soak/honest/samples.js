/** Times in milliseconds: of the current window, and of all the time that is judged. */
import { createHistogram } from 'node:perf_hooks';

export class Samples {
  #window = createHistogram();
  #all = createHistogram();

  /** Whether what is recorded counts for the whole, too: not while memory is measured. */
  static isJudged = false;

  record(milliseconds) {
    const microseconds = Math.max(1, Math.round(milliseconds * 1_000));
    this.#window.record(microseconds);
    if (Samples.isJudged) this.#all.record(microseconds);
  }

  /** Since it was last taken. */
  takeWindow() {
    const summary = summarize(this.#window);
    this.#window.reset();
    return summary;
  }

  all() {
    return summarize(this.#all);
  }
}

function summarize(histogram) {
  const { count } = histogram;
  if (count === 0) return { count, p50: 0, p99: 0, max: 0 };
  const at = (percentile) => histogram.percentile(percentile) / 1_000;
  return { count, p50: at(50), p99: at(99), max: histogram.max / 1_000 };
}
