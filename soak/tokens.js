/** Tokens (HS256), good ones and bad ones. */
import { createHmac } from 'node:crypto';

/** The secret of the service under test. */
export const JWT_KEY = 'the-secret-of-the-soak-is-known-to-all-who-read-this';

/** @param claims beside `mercure`: `sub`, `exp` and so on. */
export function token(mercure, claims = {}) {
  return sign({ mercure, ...claims });
}

export function sign(payload, { key = JWT_KEY, header = { alg: 'HS256', typ: 'JWT' } } = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const content = `${part(header)}.${part(payload)}`;
  return `${content}.${createHmac('sha256', key).update(content).digest('base64url')}`;
}
