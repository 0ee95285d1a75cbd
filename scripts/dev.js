// Builds on every change and restarts the server: tsc, Vite and node, each in its own watch mode.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import './build-if-needed.js';

const bin = (name) => join('node_modules', '.bin', name);
const children = [
  spawn(bin('tsc'), ['--watch', '--preserveWatchOutput'], { stdio: 'inherit' }),
  spawn(bin('vite'), ['build', 'client', '--watch', '--logLevel', 'warn'], { stdio: 'inherit' }),
  spawn(process.execPath, ['--watch', '--watch-path=dist', 'dist/main.js'], { stdio: 'inherit' }),
];

for (const child of children) {
  child.on('exit', (code) => {
    for (const other of children) other.kill();
    process.exitCode ??= code ?? 0;
  });
}
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    for (const child of children) child.kill();
  });
}
