import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { endWithThis } from './end-with-this.js';
import { freePort } from './free-port.js';

const CONFIGURATION = fileURLToPath(new URL('../../deploy/nginx.conf', import.meta.url));

/** An nginx with the configuration of deploy/, in which only addresses and paths are others. */
export interface Nginx {
  /** Without TLS. */
  readonly url: string;
  readonly port: number;
  /** With TLS and HTTP/2. */
  readonly secureUrl: string;
  /** Sends to the secure one. */
  readonly redirectUrl: string;
  /** What the secure one is trusted by, as PEM. */
  readonly certificate: string;
  /** Everything that it has printed so far. */
  log(): string;
  /** What it has noted of requests. */
  accessLog(): string;
  /** Takes its configuration anew: workers that have connections end when those have. */
  reload(): void;
  close(): Promise<void>;
}

/** @param nodes - the ports of the nodes on this machine. */
export async function startNginx(nodes: readonly number[]): Promise<Nginx> {
  const directory = mkdtempSync(join(tmpdir(), 'nginx-'));
  const [port, securePort, redirectPort] = [await freePort(), await freePort(), await freePort()];
  const certificate = makeCertificate(directory);
  const accessLog = join(directory, 'access.log');
  const file = join(directory, 'nginx.conf');
  mkdirSync(join(directory, 'temp'));
  // Workers are another user than the one who starts nginx as root.
  chmodSync(directory, 0o755);
  writeFileSync(
    file,
    replaceAll(readFileSync(CONFIGURATION, 'utf8'), [
      ['http {', `http {\n${temporaryPaths(join(directory, 'temp'))}`],
      ['server hub-1:3000', nodes.map((node) => `server 127.0.0.1:${node}`).join(' max_fails=0; ')],
      ['    server hub-2:3000 max_fails=0;\n', ''],
      ['listen 80;', `listen 127.0.0.1:${redirectPort};`],
      [
        'listen 443 ssl http2;',
        `listen 127.0.0.1:${securePort} ssl http2; listen 127.0.0.1:${port};`,
      ],
      ['/etc/nginx/certificate', directory],
      ['/var/log/nginx/access.log', accessLog],
    ]),
  );
  const command = ['-e', 'stderr', '-p', directory, '-c', file];
  execFileSync('nginx', [...command, '-t', '-q', '-g', pidFile(directory)], { stdio: 'pipe' });

  const child = spawn('nginx', [...command, '-g', `daemon off; ${pidFile(directory)}`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  endWithThis(child, 'TERM');
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  const ended = once(child, 'close');
  await accepts(port, child, () => log);
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    secureUrl: `https://127.0.0.1:${securePort}`,
    redirectUrl: `http://127.0.0.1:${redirectPort}`,
    certificate,
    log: () => log,
    accessLog: () => readFileSync(accessLog, 'utf8'),
    reload: () => child.kill('SIGHUP'),
    async close() {
      child.kill('SIGTERM');
      await ended;
      rmSync(directory, { recursive: true });
    },
  };
}

/** Each text is there: what a user would change in the file, and nothing else. */
function replaceAll(text: string, replacements: readonly (readonly [string, string])[]): string {
  return replacements.reduce((changed, [from, to]) => {
    if (!changed.includes(from)) throw new Error(`deploy/nginx.conf has no ${from}`);
    return changed.replaceAll(from, to);
  }, text);
}

/** Where nginx may write, whoever runs the tests. */
function temporaryPaths(directory: string): string {
  return ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `  ${name}_temp_path ${directory}/${name};`)
    .join('\n');
}

function pidFile(directory: string): string {
  return `pid ${join(directory, 'nginx.pid')};`;
}

function makeCertificate(directory: string): string {
  const [key, certificate] = [join(directory, 'privkey.pem'), join(directory, 'fullchain.pem')];
  const options =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1';
  execFileSync('openssl', [...options.split(' '), '-keyout', key, '-out', certificate], {
    stdio: 'pipe',
  });
  return readFileSync(certificate, 'utf8');
}

async function accepts(port: number, child: ChildProcess, log: () => string): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`nginx has not started:\n${log()}`);
    const socket = connect(port, '127.0.0.1');
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (isOpen) return;
    await sleep(10);
  }
}
