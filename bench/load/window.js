/** The part of a round that is measured: how long it took and what share of their cores was used. */
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuSecondsOf, cpuSecondsOfCores } from '../machine.js';

/** Starts to measure; the function returned ends it. */
export function startWindow(server) {
  const start = performance.now();
  const own = process.cpuUsage();
  const its = server.cpuSeconds;
  const redis = redisSeconds(server);
  const everybodys = cpuSecondsOfCores();
  return function endWindow() {
    const seconds = (performance.now() - start) / 1_000;
    const { user, system } = process.cpuUsage(own);
    const generatorCpu = (user + system) / 1e6 / seconds;
    const serverCpu = (server.cpuSeconds - its) / seconds;
    const redisCpu = (redisSeconds(server) - redis) / seconds;
    const inAll =
      everybodys === undefined ? undefined : (cpuSecondsOfCores() - everybodys) / seconds;
    return {
      seconds,
      generatorCpu,
      serverCpu,
      /** Of the Redis that it keeps its journal in; 0 if there is none. */
      redisCpu,
      /** What others have used of the two cores: what is measured beside that is worth little. */
      othersCpu: inAll === undefined ? 0 : Math.max(0, inAll - generatorCpu - serverCpu - redisCpu),
    };
  };
}

function redisSeconds({ redis }) {
  return redis === undefined ? 0 : cpuSecondsOf(redis.pid);
}

/** What a server occupies once it has come to rest: garbage of the time before is collected when it idles. */
export async function settledMemory(server, { quietMs = 2_000, atMostMs = 10_000 } = {}) {
  const STEP_MS = 250;
  let lowest = server.memory;
  let quietFor = 0;
  for (let waited = 0; waited < atMostMs && quietFor < quietMs; waited += STEP_MS) {
    await sleep(STEP_MS);
    const now = server.memory;
    quietFor = Math.abs(now - lowest) > 0.005 * lowest ? 0 : quietFor + STEP_MS;
    lowest = Math.min(lowest, now);
  }
  return server.memory;
}
