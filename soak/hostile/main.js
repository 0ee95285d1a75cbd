/** The process of the hostile clients: some attacks at a time, as the plan has it. Its parent hears which. */
import { setPriority } from 'node:os';
import { openFilesLimit } from '../../bench/machine.js';
import { answerQuestions, tell } from '../questions.js';
import { attacks } from './attacks/index.js';
import { Kit } from './kit.js';
import { planOf } from './plan.js';

/** Descriptors of this process that are not for attacks. */
const SPARE_DESCRIPTORS = 200;
/** However many may be open: more than the service allows by default. */
const MAX_SOCKETS = 11_000;
/** The honest clients and the service come first, or we would measure this process. */
const PRIORITY = 5;

const answers = { statuses: {}, objections: {}, bytesSent: 0 };
const budget = {
  open: 0,
  max: Math.min(MAX_SOCKETS, openFilesLimit() - SPARE_DESCRIPTORS),
  bytes: 0,
};
let stopped = false;
let stopCurrent = [];

setPriority(PRIORITY);

answerQuestions({
  /** Attacks until `forMs` are over; resolves when all their connections are closed. */
  async run({ port, seed, proxied, names, lanes, forMs }) {
    const end = performance.now() + forMs;
    await Promise.all(
      Array.from({ length: lanes }, (_, lane) =>
        attackInTurn(planOf({ seed, lane, names }), { port, proxied, end }),
      ),
    );
    return { ...answers, leftOpen: budget.open };
  },

  stop() {
    stopped = true;
    for (const stop of stopCurrent) stop();
  },
});

async function attackInTurn(plan, { port, proxied, end }) {
  for (const { name, seed, forMs } of plan) {
    const leftMs = end - performance.now();
    if (leftMs < 1_000 || stopped) return;
    const kit = new Kit({ port, proxied, seed, budget, answers, name });
    stopCurrent.push(() => kit.stop());
    const over = setTimeout(() => kit.stop(), Math.min(forMs, leftMs));
    tell('begins', name);
    try {
      // Some attacks end by themselves and are made again, until their time is over.
      do {
        await attacks[name](kit);
        await kit.pause(50);
      } while (kit.isRunning);
    } catch (error) {
      tell('broken', `${name}: ${error.stack}`);
    }
    clearTimeout(over);
    kit.stop();
    await kit.closed();
    stopCurrent = [];
    tell('ends', name);
  }
}
