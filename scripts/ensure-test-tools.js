// The tests need Chromium, curl, nginx, OpenSSL, Python and a Redis or Valkey server; a soak (`--soak`) the servers, and
// on Linux jemalloc. All are looked for first; what is missing is installed on Debian and Ubuntu as root, and asked for
// elsewhere. PHP, which an example is written in, is not asked for: without it the example's test is skipped, and says so.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { findChromium } from './find-chromium.js';
import { hasJemalloc } from './find-jemalloc.js';
import { findRedisServer } from './find-redis-server.js';

const isSoak = process.argv.includes('--soak');
const WHO = isSoak ? 'A soak needs' : 'The tests need';

/** What apt-get calls each, and whether it is here. */
const SERVERS = {
  nginx: () => spawnSync('nginx', ['-v']).status === 0,
  'redis-server': () => findRedisServer() !== undefined,
};
const TOOLS = isSoak
  ? { ...SERVERS, libjemalloc2: () => process.platform !== 'linux' || hasJemalloc() }
  : {
      ...SERVERS,
      chromium: () => findChromium() !== undefined,
      curl: () => spawnSync('curl', ['--version']).status === 0,
      openssl: () => spawnSync('openssl', ['version']).status === 0,
      python3: () => spawnSync('python3', ['--version']).status === 0,
    };

const OPTIONAL = isSoak ? {} : { 'php-cli': () => spawnSync('php', ['--version']).status === 0 };

const POLICY = '/usr/sbin/policy-rc.d';

const canInstall = process.getuid?.() === 0 && existsSync('/usr/bin/apt-get');

const missing = missingOf(TOOLS);
if (missing.length > 0) installTools();
const missingOptional = missingOf(OPTIONAL);
if (missingOptional.length > 0 && canInstall) installOptional();

function missingOf(tools) {
  return Object.keys(tools).filter((name) => !tools[name]());
}

function installTools() {
  if (!canInstall) {
    const names = missing.join(' and ');
    const forBrew = missing.map((name) => name.replace('redis-server', 'redis'));
    const forDnf = missing.map((name) => name.replace('redis-server', 'valkey'));
    giveUp(
      `${WHO} ${names}, and there is none. Install it (Debian, Ubuntu: sudo apt-get install ` +
        `${missing.join(' ')}; macOS: brew install ${forBrew.join(' ')}; Fedora: sudo dnf install ` +
        `${forDnf.join(' ')}), or set CHROMIUM_PATH to the executable of a Chromium or Chrome, and ` +
        'REDIS_SERVER_PATH to that of a Redis or Valkey server.',
    );
  }
  install(missing);
  const still = missingOf(TOOLS);
  if (still.length > 0) {
    giveUp(
      `apt-get installed no ${still.join(' and no ')}. Install it, or set CHROMIUM_PATH or ` +
        'REDIS_SERVER_PATH to its executable.',
    );
  }
}

function installOptional() {
  try {
    install(missingOptional);
  } catch {
    console.log(
      `${missingOptional.join(' and ')} cannot be installed: tests that need it are skipped.`,
    );
  }
}

function install(names) {
  console.log(`${WHO} ${names.join(' and ')}: installing with apt-get …`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const aptGet = (...args) =>
    execFileSync('apt-get', args, { env, stdio: ['ignore', 'ignore', 'inherit'] });
  aptGet('update', '-qq');
  withoutServices(() => aptGet('install', '-y', '-qq', '--no-install-recommends', ...names));
}

/** The packages of servers start them, on their usual ports. The tests start their own, on free ones. */
function withoutServices(act) {
  if (existsSync(POLICY)) {
    act();
    return;
  }
  writeFileSync(POLICY, '#!/bin/sh\nexit 101\n');
  chmodSync(POLICY, 0o755);
  try {
    act();
  } finally {
    rmSync(POLICY);
  }
}

function giveUp(reason) {
  console.error(reason);
  process.exit(1);
}
