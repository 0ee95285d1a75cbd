import { spawnSync } from 'node:child_process';

/** Whether programs can be started with jemalloc as their allocator, as the image starts the service. */
export function hasJemalloc() {
  // What cannot be loaded before a program is told on its standard error, and the program started without.
  const env = { ...process.env, LD_PRELOAD: 'libjemalloc.so.2' };
  const { status, stderr } = spawnSync('true', { env });
  return process.platform === 'linux' && status === 0 && stderr.length === 0;
}
