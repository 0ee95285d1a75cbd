/** A Redis server, or Valkey, that has what it acknowledges on the disk, as LMDB does. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { findRedisServer } from '../../scripts/find-redis-server.js';
import { beside } from '../machine.js';
import { freePort } from './free-port.js';

export const isRedisInstalled = findRedisServer() !== undefined;

/**
 * Starts it on the load generator's core: it is usually another machine. Resolves when it answers.
 *
 * @param directory where its files are.
 */
export async function startRedis(directory) {
  const port = await freePort();
  const [program, ...args] = beside([
    findRedisServer(),
    ...['--port', port, '--bind', '127.0.0.1', '--dir', directory],
    ...['--save', '', '--appendonly', 'yes', '--appendfsync', 'always'],
  ]);
  const child = spawn(program, args.map(String), { stdio: 'ignore' });
  const ended = once(child, 'close');
  for (let attempt = 0; !(await answers(port)); attempt++) {
    if (attempt === 100) {
      child.kill('SIGKILL');
      throw new Error('Redis does not answer');
    }
    await sleep(50);
  }
  return {
    pid: child.pid,
    url: `redis://127.0.0.1:${port}`,
    /** What its data occupies, in bytes. */
    async memory() {
      const info = await ask(port, 'INFO memory', /used_memory_dataset:(\d+)/);
      return Number(info[1]);
    },
    kill: () => child.kill('SIGKILL'),
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function answers(port) {
  return ask(port, 'PING', /^\+PONG/).then(
    () => true,
    () => false,
  );
}

/** Resolves with what a command's answer has of a pattern. */
function ask(port, command, pattern) {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(`${command}\r\n`));
    socket.setEncoding('utf8').on('data', (part) => {
      text += part;
      const match = pattern.exec(text);
      if (match === null) return;
      resolve(match);
      socket.destroy();
    });
    socket.on('error', reject).on('close', () => reject(new Error(`Redis answers ${text}`)));
  });
}
