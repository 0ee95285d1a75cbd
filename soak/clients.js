/** The soak's processes of clients, which are asked by their parent and end with it. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Questions } from './questions.js';

const running = new Set();

/**
 * @param file the program, from this directory.
 * @param onTold called with what it tells without being asked: a name and a value.
 */
export function startClients(file, onTold) {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), { stdio: 'inherit' });
  running.add(child);
  child.once('exit', () => running.delete(child));
  const questions = new Questions(child, onTold);
  return {
    ask: (...question) => questions.ask(...question),
    kill: () => child.kill('SIGKILL'),
  };
}

/** Ends all of them, without waiting: for when this process ends. */
export function killClients() {
  for (const child of running) child.kill('SIGKILL');
}
