import { createPrivateKey, createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import { ConfigError } from '../config-error.js';
import { type Mistake, mistakeIn } from './not-a-secret.js';

/**
 * Reads a key from a setting: a secret, or a public or private key as PEM. A certificate stands for its public
 * key; its dates and its issuer are not looked at.
 *
 * @param kind which half of a pair of keys is wanted.
 * @throws {ConfigError} naming the setting, what it holds instead and what to do, but never its value.
 */
export function parseKey(name: string, text: string, kind: 'public' | 'private'): KeyObject {
  return text.includes('-----BEGIN ') ? parsePem(name, text, kind) : parseSecret(name, text, kind);
}

function parsePem(name: string, text: string, kind: 'public' | 'private'): KeyObject {
  // Compose and .env files have no line breaks in values; there they are written as \n. Some keep the quotes.
  const lines = text.replaceAll('\\r', '').replaceAll('\\n', '\n');
  const pem = lines.trim().replace(/^["']|["']$/g, '');
  const label = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(pem)?.[1] ?? '';
  if (label.startsWith('PGP ')) throw new ConfigError(`${name} ${ADVICE['PGP key']}`);
  const isPrivate = /-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem);
  if (isPrivate && kind === 'public') throw new ConfigError(`${name} ${ADVICE['private key']}`);
  if (!isPrivate && kind === 'private') {
    throw new ConfigError(`${name} ${SIGN_WITH_PRIVATE}`);
  }
  if (kind === 'public' && pem.split('-----BEGIN ').length > 2) {
    throw new ConfigError(`${name} has more than one key or certificate: set one, as PEM`);
  }
  try {
    return isPrivate ? createPrivateKey(pem) : createPublicKey(pem);
  } catch {
    const hint = PRIVATE_FORMATS[label];
    throw new ConfigError(
      hint === undefined
        ? `${name} looks like PEM, but no ${kind} key can be read from it`
        : `${name} ${hint}`,
    );
  }
}

/** Private keys as PEM that Node does not read, and what makes readable ones of them. */
const PRIVATE_FORMATS: Readonly<Record<string, string>> = {
  'OPENSSH PRIVATE KEY':
    "is a private key in OpenSSH's own format: convert a copy of it with ssh-keygen -p -m PKCS8 -f FILE",
  'ENCRYPTED PRIVATE KEY':
    'is a private key with a passphrase: decrypt a copy of it with openssl pkey -in FILE',
};

function parseSecret(name: string, text: string, kind: 'public' | 'private'): KeyObject {
  const mistake = mistakeIn(text);
  if (mistake === undefined) return createSecretKey(text, 'utf8');
  if (mistake === 'path') {
    // An option of a command has no variable beside it.
    const file = name.startsWith('-') ? `${name}="$(cat FILE)"` : `${name}_FILE`;
    throw new ConfigError(`${name} is the path of a file: to read the key from it, set ${file}`);
  }
  throw new ConfigError(`${name} ${kind === 'private' ? forSigning(mistake) : ADVICE[mistake]}`);
}

function forSigning(mistake: keyof typeof ADVICE): string {
  if (mistake === 'public key' || mistake === 'certificate') return SIGN_WITH_PRIVATE;
  return mistake === 'private key'
    ? 'is a private key, but not as PEM: set it as PEM (-----BEGIN PRIVATE KEY-----)'
    : ADVICE[mistake];
}

const SIGN_WITH_PRIVATE = 'is a public key: tokens are signed with the private one';

/** What is said of a text that is no secret, after the name of its setting. The text itself is never told. */
const ADVICE: Readonly<Record<Exclude<Mistake, 'path'>, string>> = {
  'public key':
    'is a public key, but not as PEM: it would be taken for a secret, which everybody knows; set it as PEM (-----BEGIN PUBLIC KEY-----)',
  'private key':
    'is a private key: that stays where tokens are signed; set the public one here, as PEM',
  certificate:
    'is a certificate, but not as PEM: set it as PEM (-----BEGIN CERTIFICATE-----), or the public key that is in it',
  'encoded key':
    'is a key or certificate in an encoding that is not read here: set a public key as PEM (-----BEGIN PUBLIC KEY-----), or a secret',
  'PGP key': 'is a PGP block, with which no token is signed: set a secret, or a public key as PEM',
  JSON: 'is JSON: set the secret itself, or a public key as PEM; a JSON Web Key Set is read from JWKS_URL',
  token: 'is a token: set the key that it was signed with',
  URL: 'is a URL: a JSON Web Key Set is read from JWKS_URL; a secret is set itself, not where it is found',
  variable: 'is the name of a value that was not put in its place: set the key itself',
};
