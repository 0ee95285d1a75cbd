import { readFileSync } from 'node:fs';

/** Processes are not told of their parents' ends: they have to look. */
const LOOK_MS = 250;

/**
 * Under `npm start`, calls back when npm has gone. npm passes signals on to the shell that it has started, which ends and
 * tells nobody; and a kill of npm leaves the shell waiting.
 */
export function onNpmGone(callback: () => void): void {
  if (process.env.npm_lifecycle_event !== 'start') return;
  const { ppid } = process;
  const grandparent = parentOf(ppid);
  const timer = setInterval(() => {
    if (process.ppid === ppid && parentOf(ppid) === grandparent) return;
    clearInterval(timer);
    callback();
  }, LOOK_MS).unref();
}

/** Where the system does not tell, as macOS, the shell has made way for the service: its parent is npm itself. */
function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name before may have anything in it.
    return Number(stat.slice(stat.lastIndexOf(')')).split(' ')[2]);
  } catch {
    return undefined;
  }
}
