import { type Browser, chromium } from 'playwright-core';
import { findChromium } from '../../scripts/find-chromium.js';

/** Starts this system's Chromium, without a window and without its calls home. */
export function launchBrowser(): Promise<Browser> {
  const executablePath = findChromium();
  if (executablePath === undefined) {
    throw new Error('There is no Chromium: run these tests with `npm test`, which sees to it.');
  }
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}
