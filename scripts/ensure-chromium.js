// The browser tests need Chromium. It is looked for first; where it is missing it is installed on Debian
// and Ubuntu as root, and asked for elsewhere.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { findChromium } from './find-chromium.js';

if (findChromium() === undefined) install();

function install() {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
    giveUp(
      'The browser tests need Chromium, and there is none. Install it (Debian, Ubuntu: sudo apt-get ' +
        'install chromium; macOS: brew install --cask chromium; Fedora: sudo dnf install chromium) or ' +
        'set CHROMIUM_PATH to the executable of a Chromium or Chrome.',
    );
  }
  console.log('The browser tests need Chromium: installing it with apt-get …');
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const aptGet = (...args) =>
    execFileSync('apt-get', args, { env, stdio: ['ignore', 'ignore', 'inherit'] });
  aptGet('update', '-qq');
  aptGet('install', '-y', '-qq', '--no-install-recommends', 'chromium');
  if (findChromium() === undefined) {
    giveUp(
      'apt-get installed no Chromium. Set CHROMIUM_PATH to the executable of a Chromium or Chrome.',
    );
  }
}

function giveUp(reason) {
  console.error(reason);
  process.exit(1);
}
