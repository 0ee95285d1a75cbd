// The tests need Chromium and curl. Both are looked for first; what is missing is installed on Debian and
// Ubuntu as root, and asked for elsewhere.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { findChromium } from './find-chromium.js';

const missing = missingTools();
if (missing.length > 0) install();

function missingTools() {
  const hasCurl = spawnSync('curl', ['--version']).status === 0;
  return [findChromium() === undefined && 'chromium', !hasCurl && 'curl'].filter(Boolean);
}

function install() {
  const names = missing.join(' and ');
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
    giveUp(
      `The tests need ${names}, and there is none. Install it (Debian, Ubuntu: sudo apt-get install ` +
        `${missing.join(' ')}; macOS: brew install --cask chromium; Fedora: sudo dnf install ` +
        `${missing.join(' ')}), or set CHROMIUM_PATH to the executable of a Chromium or Chrome.`,
    );
  }
  console.log(`The tests need ${names}: installing with apt-get …`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const aptGet = (...args) =>
    execFileSync('apt-get', args, { env, stdio: ['ignore', 'ignore', 'inherit'] });
  aptGet('update', '-qq');
  aptGet('install', '-y', '-qq', '--no-install-recommends', ...missing);
  const still = missingTools();
  if (still.length > 0) {
    giveUp(
      `apt-get installed no ${still.join(' and no ')}. Install it, or set CHROMIUM_PATH to the ` +
        'executable of a Chromium or Chrome.',
    );
  }
}

function giveUp(reason) {
  console.error(reason);
  process.exit(1);
}
