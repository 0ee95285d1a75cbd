/** The service under test: dist/main.js in a process of its own, and what can be known of it. */
import { spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hasJemalloc } from '../scripts/find-jemalloc.js';
import { descriptorsOf, proc } from './processes.js';
import { Questions } from './questions.js';
import { JWT_KEY, token } from './tokens.js';

const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const DOCKERFILE = new URL('../Dockerfile', import.meta.url);
const INSIDE = new URL('inside.js', import.meta.url).href;

/** Log lines that are kept for the report. */
const MAX_KEPT_LINES = 200;

/** A line of a stack, or of a warning of Node's: both say that something was not handled. */
const UNHANDLED = /^\s+at .+:\d+:\d+\)?$|^\(node:\d+\) |Unhandled|Uncaught/;

/**
 * @param options.journal `memory:`, `lmdb:` for a directory that is removed afterwards, or `lmdb:DIRECTORY`.
 * @param options.settings environment variables beside those of a deployment.
 */
export async function startService({ journal, settings }) {
  const directory = await mkdtemp(join(tmpdir(), 'koa-sse-hub-soak-'));
  const child = spawn(process.execPath, ['--expose-gc', '--import', INSIDE, MAIN], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: {
      ...(hasJemalloc() && ofImage(['LD_PRELOAD', 'MALLOC_CONF'])),
      PATH: process.env.PATH,
      PORT: '0',
      HOST: '127.0.0.1',
      NODE_ENV: 'production',
      LOG_FORMAT: 'text', // Its lines on standard error are counted.
      JWT_KEY,
      SUBSCRIPTIONS: 'true',
      JOURNAL: journal === 'lmdb:' ? `lmdb:${join(directory, 'journal')}` : journal,
      ...settings,
    },
  });
  const service = new Service(child, directory);
  try {
    await service.listens();
    return service;
  } catch (error) {
    await service.stop();
    throw error;
  }
}

/** Environment variables as the image sets them. */
function ofImage(names) {
  const lines = readFileSync(DOCKERFILE, 'utf8');
  return Object.fromEntries(
    names.map((name) => [name, new RegExp(`^ENV ${name}=(.+)$`, 'm').exec(lines)[1]]),
  );
}

class Service {
  port = 0;
  /** What it has written to standard error, the first lines of it, and how many there were. */
  lines = [];
  lineCount = 0;
  unhandled = [];
  /** How it has ended, if it has. */
  exit;
  #child;
  #directory;
  #questions;
  #exited;
  #stopping = false;

  constructor(child, directory) {
    this.#child = child;
    this.#directory = directory;
    this.#questions = new Questions(child);
    this.#exited = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        this.exit = { code, signal, expected: this.#stopping };
        resolve();
      });
    });
    eachLine(child.stderr, (line) => this.#logged(line));
  }

  get pid() {
    return this.#child.pid;
  }

  listens() {
    return new Promise((resolve, reject) => {
      eachLine(this.#child.stdout, (line) => {
        const match = /listens on http:\/\/[^ ]*:(\d+)/.exec(line);
        if (match === null) return;
        this.port = Number(match[1]);
        resolve();
      });
      this.#exited.then(() => reject(new Error(`It does not start:\n${this.lines.join('\n')}`)));
    });
  }

  /** Milliseconds that its event loop was held at the longest since the last call; undefined if it says nothing. */
  stall() {
    return this.#questions.ask('stall', undefined, { withinMs: 20_000 }).catch(() => undefined);
  }

  /** Bytes and descriptors in use now, as the kernel counts them. */
  usage() {
    const status = proc(`${this.pid}/status`);
    const kilobytes = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
    return {
      rss: kilobytes('VmRSS') * 1024,
      // What is mapped from the journal's file belongs to the system's cache, and grows with what is read of it.
      anonymous: kilobytes('RssAnon') * 1024,
      descriptors: descriptorsOf(this.pid),
    };
  }

  /** The same after a forced collection, with what is alive on the heap. */
  async collected() {
    const heap = await this.#questions.ask('collected');
    return { ...this.usage(), ...heap };
  }

  /** Writes what is on its heap into a file. */
  async snapshot(file) {
    await this.#questions.ask('snapshot', file);
  }

  /** How many subscribers the service itself believes to have. */
  async subscribers() {
    const document = await getJson(this.port, '/hub/subscriptions');
    return new Set(document.subscriptions.map(({ subscriber }) => subscriber)).size;
  }

  /** Resolves when it has ended, whether it was asked to or not. */
  get ended() {
    return this.#exited;
  }

  async stop() {
    this.#stopping = true;
    this.#child.kill('SIGTERM');
    const cut = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await this.#exited;
    clearTimeout(cut);
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** Without waiting: for when this process ends. */
  kill() {
    this.#child.kill('SIGKILL');
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #logged(line) {
    this.lineCount += 1;
    if (this.lines.length < MAX_KEPT_LINES) this.lines.push(line.slice(0, 400));
    if (UNHANDLED.test(line) && this.unhandled.length < MAX_KEPT_LINES) {
      this.unhandled.push(line.slice(0, 400));
    }
  }
}

function eachLine(stream, onLine) {
  let rest = '';
  stream.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) onLine(line);
  });
}

function getJson(port, path) {
  const headers = { Authorization: `Bearer ${token({ subscribe: ['*'] })}` };
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      response.on('error', reject).on('end', () => {
        if (response.statusCode === 200) resolve(JSON.parse(text));
        else reject(new Error(`${path} is answered ${response.statusCode}: ${text}`));
      });
    });
    asked.setTimeout(10_000, () => asked.destroy(new Error(`${path} is not answered`)));
    asked.on('error', reject).end();
  });
}
