/**
 * The container's health check: exits 0 if the service answers on its own port, 1 if it does not.
 * It reads the same environment as the service, so it looks where that listens.
 */
import { localUrl, readConfig } from './config.js';

try {
  const response = await fetch(localUrl(readConfig(process.env)), {
    method: 'HEAD',
    signal: AbortSignal.timeout(2_000),
  });
  process.exitCode = response.ok ? 0 : 1;
} catch {
  process.exitCode = 1;
}
