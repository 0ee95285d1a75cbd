import { findExecutable, isExecutable } from './find-executable.js';

/**
 * The Redis or Valkey server of this system: REDIS_SERVER_PATH, else the first on PATH.
 *
 * @returns {string | undefined}
 */
export function findRedisServer() {
  const { REDIS_SERVER_PATH } = process.env;
  if (REDIS_SERVER_PATH) return isExecutable(REDIS_SERVER_PATH) ? REDIS_SERVER_PATH : undefined;
  return findExecutable(['redis-server', 'valkey-server']);
}
