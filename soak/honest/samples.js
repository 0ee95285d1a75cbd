/** Times in milliseconds: of the current window, of the last minute, and of all the time that is judged. */
import { createHistogram } from 'node:perf_hooks';

/** Windows of ten seconds. In one of them there are 40 probes, whose p99 would be the longest. */
export const WINDOWS_PER_MINUTE = 6;

const MAX_MICROSECONDS = 3_600_000_000;

export class Samples {
  #window = newHistogram();
  /** The windows before it, of which the newest make a minute. */
  #recent = [];
  #all = newHistogram();

  /** Whether what is recorded counts for the whole, too: not while memory is measured. */
  static isJudged = false;

  record(milliseconds) {
    const microseconds = Math.max(1, Math.min(Math.round(milliseconds * 1_000), MAX_MICROSECONDS));
    this.#window.record(microseconds);
    if (Samples.isJudged) this.#all.record(microseconds);
  }

  /** Since it was last taken; and of this window and those before it, up to a minute together. */
  takeWindow() {
    const window = this.#window;
    this.#window = newHistogram();
    this.#recent.push(window);
    if (this.#recent.length > WINDOWS_PER_MINUTE) this.#recent.shift();
    const minute = newHistogram();
    for (const each of this.#recent) minute.add(each);
    return { ...summarize(window), minute: summarize(minute) };
  }

  all() {
    return summarize(this.#all);
  }
}

function newHistogram() {
  return createHistogram({ lowest: 1, highest: MAX_MICROSECONDS, figures: 3 });
}

function summarize(histogram) {
  const { count } = histogram;
  if (count === 0) return { count, p50: 0, p99: 0, max: 0 };
  const at = (percentile) => histogram.percentile(percentile) / 1_000;
  return { count, p50: at(50), p99: at(99), max: histogram.max / 1_000 };
}
