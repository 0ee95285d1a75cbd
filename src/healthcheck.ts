/**
 * The container's health check: exits 0 if the service answers on its own port that updates can be published, else 1
 * with a line that says why. It reads the same environment as the service, so it looks where that listens.
 */
import { localUrl, readConfig } from './config.js';

/** More than the service takes to find out, less than the container's check may take. */
const MAX_WAIT_MS = 3_000;

try {
  const response = await fetch(`${localUrl(readConfig(process.env))}/health`, {
    signal: AbortSignal.timeout(MAX_WAIT_MS),
  });
  if (!response.ok) {
    const { detail } = (await response.json()) as { detail: string };
    throw new Error(detail);
  }
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}
