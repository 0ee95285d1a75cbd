/**
 * Loaded into the service with `--import`: answers what cannot be seen from outside. It needs `--expose-gc`.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { writeHeapSnapshot } from 'node:v8';
import { answerQuestions } from './questions.js';

const delay = monitorEventLoopDelay({ resolution: 10 });
delay.enable();

answerQuestions({
  /** The longest that the event loop was held since it was last asked, in milliseconds. */
  stall() {
    const { max } = delay;
    delay.reset();
    return Number.isFinite(max) ? max / 1e6 : 0;
  },

  /** Bytes in use after everything that nobody refers to has been collected. */
  async collected() {
    for (let round = 0; round < 3; round++) {
      globalThis.gc();
      await new Promise(setImmediate);
    }
    const { heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage();
    return { heapUsed, heapTotal, external, arrayBuffers };
  },

  /** Everything on the heap, in a file that the memory panel of Chromium opens. */
  snapshot: writeHeapSnapshot,
});
process.channel.unref();
