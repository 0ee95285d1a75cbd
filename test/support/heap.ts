import { setTimeout as wait } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');

/** Collects everything that nobody refers to. */
export const collectGarbage = runInNewContext('gc') as () => void;

/** Bytes in use on the heap and in buffers, without garbage. */
export function bytesInUse(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** The same, when what other tests in this process have left behind is gone. */
export async function settledBytesInUse(): Promise<number> {
  for (let last = bytesInUse(); ; ) {
    await wait(100);
    const bytes = bytesInUse();
    if (bytes > last - 100_000) return bytes;
    last = bytes;
  }
}
