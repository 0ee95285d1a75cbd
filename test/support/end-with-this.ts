import { type ChildProcess, spawn } from 'node:child_process';

/**
 * Ends a process when this one ends, also if this one is killed: for servers that do not notice that they are alone.
 *
 * @param signal - `TERM` for those with children of their own, which they end then.
 */
export function endWithThis(child: ChildProcess, signal: 'TERM' | 'KILL'): void {
  // The pipe is closed when this process has ended, however that was.
  const watcher = spawn('sh', ['-c', `cat; kill -s ${signal} "$0"`, String(child.pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    // A group of its own: an interrupt of the terminal ends the group of this process, and the watcher comes last.
    detached: true,
  });
  watcher.unref();
  (watcher.stdin as unknown as { unref(): void }).unref();
  child.once('exit', () => watcher.kill('SIGKILL'));
}
