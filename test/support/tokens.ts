import { readSigningKey } from '../../src/auth/keys.js';
import { signToken, type TokenContent } from '../../src/auth/sign.js';
import { JWT_KEY } from './server.js';

/** A token that the services under test accept; by default it may do everything. */
export function tokenFor(
  content: TokenContent = { publish: ['*'], subscribe: ['*'] },
): Promise<string> {
  return signToken(readSigningKey('JWT_KEY', JWT_KEY), content);
}
