// Builds the server (tsc) and the client (Vite) into dist/, and the package koa-event-stream into its own, unless what is
// there is newer than every source. With --force it always builds.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCES = [
  ...['src', 'client', 'tsconfig.json', 'package-lock.json'],
  'scripts/event-stream-package.js',
];
const STAMP = 'dist/.built';
/** The image does without it. */
const EVENT_STREAM = 'packages/koa-event-stream';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
if (process.argv.includes('--force') || isStale()) await build();

function isStale() {
  if (!existsSync(STAMP)) return true;
  if (existsSync(EVENT_STREAM) && !existsSync(join(EVENT_STREAM, 'dist/index.d.ts'))) return true;
  const built = statSync(STAMP).mtimeMs;
  return SOURCES.flatMap(filesUnder).some((file) => statSync(file).mtimeMs > built);
}

function filesUnder(path) {
  if (!statSync(path).isDirectory()) return [path];
  // The folder too: its time tells of a file that is gone.
  return [path, ...readdirSync(path).flatMap((name) => filesUnder(join(path, name)))];
}

async function build() {
  const started = new Date();
  rmSync('dist', { recursive: true, force: true });
  run('tsc', '--declarationMap');
  // Not before: it needs a package, and whoever has none is to be told by tsc.
  const { compact, compareByShape, copyDeclarations } = await import('./event-stream-package.js');
  compareByShape();
  if (existsSync(EVENT_STREAM)) {
    rmSync(join(EVENT_STREAM, 'dist'), { recursive: true, force: true });
    run('tsc', '-p', EVENT_STREAM);
    copyDeclarations();
    compact();
  }
  run('vite', 'build', 'client', '--logLevel', 'warn');
  // Stamped with the start, so that a file saved during the build is built the next time.
  writeFileSync(STAMP, '');
  utimesSync(STAMP, started, started);
}

function run(command, ...args) {
  try {
    execFileSync(join('node_modules', '.bin', command), args, { stdio: 'inherit' });
  } catch (error) {
    if (error.code === 'ENOENT') {
      console.error(`Cannot build: ${command} is not installed. Run npm ci first.`);
    }
    process.exit(1);
  }
}
