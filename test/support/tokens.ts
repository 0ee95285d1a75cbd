import { readSigningKey } from '../../src/auth/keys.js';
import { signToken, type TokenContent } from '../../src/auth/sign.js';
import { JWT_KEY } from './server.js';

/** A token that the services under test accept, or others with this key; by default it may do everything. */
export function tokenFor(
  content: TokenContent = { publish: ['*'], subscribe: ['*'] },
  key: string = JWT_KEY,
): Promise<string> {
  return signToken(readSigningKey('JWT_KEY', key), content);
}
