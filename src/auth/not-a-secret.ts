import { createPrivateKey, createPublicKey, ECDH, X509Certificate } from 'node:crypto';
import { statSync } from 'node:fs';

/** What a setting that should be a secret can be instead. */
export type Mistake =
  | 'public key'
  | 'private key'
  | 'certificate'
  | 'encoded key'
  | 'PGP key'
  | 'JSON'
  | 'token'
  | 'URL'
  | 'path'
  | 'variable';

/**
 * Tells what else a text is, if it is no secret. A public key that is taken for a secret lets everybody sign
 * tokens, and so does a path or a URL that can be guessed.
 *
 * Texts that were made at random, and passphrases, are none of these: each rule needs more structure than chance
 * gives to one secret in a million.
 *
 * @returns undefined for what may be a secret.
 */
export function mistakeIn(text: string): Mistake | undefined {
  const bare = unquote(text.replaceAll('\\r', '').replaceAll('\\n', '\n').trim());
  return (
    keyText(bare) ??
    (isToken(bare) ? 'token' : undefined) ??
    encodedKey(bare) ??
    (isVariable(bare) ? 'variable' : undefined) ??
    (isPath(bare) ? 'path' : undefined) ??
    (isUrl(bare) ? 'URL' : undefined)
  );
}

/** Docker's `--env-file` keeps the quotes around a value. */
function unquote(text: string): string {
  return /^(["'])(.*)\1$/s.exec(text)?.[2]?.trim() ?? text;
}

/** Keys in the forms that are text: PEM and its relatives, OpenSSH, JSON Web Keys. */
function keyText(text: string): Mistake | undefined {
  const label = /(?:-{2,}\s*(?:BEGIN|END)\s*|^BEGIN )([A-Z0-9 ]+)/i.exec(text)?.[1]?.toUpperCase();
  if (label?.includes('PGP')) return 'PGP key';
  if (label?.includes('PRIVATE') || text.startsWith('PuTTY-User-Key-File')) return 'private key';
  if (label?.includes('CERTIFICATE')) return 'certificate';
  if (label !== undefined) return 'public key';
  // A line of authorized_keys or known_hosts may have something before the type of its key.
  if (/(?:^|\s)(?:sk-)?(?:ssh|ecdsa)-[\w@.-]+\s+AAAA/.test(text)) return 'public key';
  if (/^[{[]/.test(text)) return jsonKey(text);
  return undefined;
}

function jsonKey(text: string): Mistake | undefined {
  const isWebKey = /["']?\b(?:kty|keys)\b["']?\s*:/.test(text);
  if (/["'](?:d|private_key)["']\s*:/.test(text)) return 'private key';
  if (isWebKey) return /["']kty["']\s*:\s*["']oct["']/.test(text) ? 'JSON' : 'public key';
  return parses(() => JSON.parse(text)) ? 'JSON' : undefined;
}

/** RFC 7515, section 7.1: parts that are Base64url, with dots between them; the first is a JSON object. */
function isToken(text: string): boolean {
  const [header = '', ...rest] = text.replace(/^Bearer\s+/i, '').split('.');
  if (rest.length === 0 || !rest.every((part) => /^[\w-]*$/.test(part))) return false;
  return parses(() => {
    if (typeof JSON.parse(Buffer.from(header, 'base64url').toString()) !== 'object') throw header;
  });
}

/** Keys whose bytes are written as hex, Base64 or Base64url. */
function encodedKey(text: string): Mistake | undefined {
  for (const bytes of decodings(text)) {
    const mistake = keyBytes(bytes) ?? (isPrintable(bytes) ? keyText(bytes.toString()) : undefined);
    if (mistake !== undefined) return mistake;
  }
  return undefined;
}

function decodings(text: string): Buffer[] {
  const hex = text.replace(/^0x/i, '').replace(/[\s:]/g, '');
  const base64 = text.replace(/\s/g, '');
  return [
    ...(/^(?:[0-9a-f]{2})+$/i.test(hex) ? [Buffer.from(hex, 'hex')] : []),
    ...(/^[\w+/-]+={0,2}$/.test(base64) ? [Buffer.from(base64, 'base64')] : []),
  ];
}

function keyBytes(bytes: Buffer): Mistake | undefined {
  // RFC 4253, section 6.6: a key begins with the name of its type, as a string with its length before it.
  if (bytes.length > 15 && bytes.readUInt32BE(0) <= 64) {
    if (/^(?:sk-)?(?:ssh|ecdsa)-/.test(bytes.toString('latin1', 4, 15))) return 'public key';
  }
  if (bytes.toString('latin1', 0, 14) === 'openssh-key-v1') return 'private key';
  if (isCurvePoint(bytes)) return 'public key';
  if (bytes[0] !== DER_SEQUENCE) return undefined;
  if (
    parses(() => createPublicKey({ key: bytes, format: 'der', type: 'spki' })) ||
    parses(() => createPublicKey({ key: bytes, format: 'der', type: 'pkcs1' }))
  ) {
    // Node derives a public key from a private one, too.
    return isPrivateDer(bytes) ? 'private key' : 'public key';
  }
  if (isPrivateDer(bytes)) return 'private key';
  if (parses(() => new X509Certificate(bytes))) return 'certificate';
  return isDer(bytes) || namesKeyAlgorithm(bytes) ? 'encoded key' : undefined;
}

function isPrivateDer(key: Buffer): boolean {
  return (['pkcs8', 'pkcs1', 'sec1'] as const).some((type) =>
    parses(() => createPrivateKey({ key, format: 'der', type })),
  );
}

/** A public key as Web Push has it: an uncompressed point that is on its curve, which no random one is. */
function isCurvePoint(bytes: Buffer): boolean {
  const curve = { 65: 'prime256v1', 97: 'secp384r1', 133: 'secp521r1' }[bytes.length];
  return curve !== undefined && bytes[0] === 4 && parses(() => ECDH.convertKey(bytes, curve));
}

const DER_SEQUENCE = 0x30;
const DER_INTEGER = 0x02;

/** Whether bytes are one DER sequence, of at least two elements and nothing else: a key that Node cannot read. */
function isDer(bytes: Buffer): boolean {
  const outer = derElement(bytes, 0);
  if (outer === undefined || outer.end !== bytes.length) return false;
  const first = bytes[outer.start];
  if (first !== DER_SEQUENCE && first !== DER_INTEGER) return false;
  let elements = 0;
  for (let at = outer.start; at < outer.end; elements++) {
    const element = derElement(bytes, at);
    if (element === undefined) return false;
    at = element.end;
  }
  return elements >= 2;
}

/** Where the content of an element begins and ends; undefined if it does not fit. */
function derElement(bytes: Buffer, at: number): { start: number; end: number } | undefined {
  const length = bytes[at + 1];
  if (length === undefined) return undefined;
  const lengthBytes = length < 0x80 ? 0 : length - 0x80;
  const start = at + 2 + lengthBytes;
  if (lengthBytes > 4 || start > bytes.length) return undefined;
  const end = start + (lengthBytes === 0 ? length : bytes.readUIntBE(at + 2, lengthBytes));
  return end <= bytes.length ? { start, end } : undefined;
}

/** Whether the identifier of a kind of key stands where keys have it: so in one that was cut off, too. */
function namesKeyAlgorithm(bytes: Buffer): boolean {
  const head = bytes.toString('hex', 0, 40);
  return (
    head.includes('2a864886f70d0101') || // rsaEncryption and its signatures
    head.includes('2a8648ce3d0201') || // id-ecPublicKey
    /06032b65(?:6e|6f|70|71)/.test(head) // X25519, X448, Ed25519, Ed448
  );
}

function isPrintable(bytes: Buffer): boolean {
  return bytes.every((byte) => (byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x0d);
}

/** `$JWT_KEY`, `${JWT_KEY}`, `%JWT_KEY%`, `{{ jwt_key }}`, `$(cat key)`, `<your key>`: nobody put the value in. */
function isVariable(text: string): boolean {
  return /^(?:\$[A-Z_][A-Z\d_]*|\$\{[^{}]+\}|%[A-Z_][A-Z\d_]*%|\$?\{\{.*\}\}|\$\(.+\)|<[\w -]+>)$/is.test(
    text,
  );
}

const KEY_FILE =
  /\.(?:pem|key|pub|crt|cer|cert|der|csr|txt|json|jwks?|p8|pk8|p12|pfx|jks|asc|gpg|env|secret|ya?ml)$/i;

function isPath(text: string): boolean {
  if (/^file:/i.test(text)) return true;
  if (/^[\w+.-]{2,}:\/\//.test(text)) return false;
  if (isFile(text)) return true;
  if (/^(?:\.{1,2}[\\/]|~[\w.-]*\/|@[./~]|[a-z]:\\|\\\\\w|\$\{?\w+\}?\/)/i.test(text)) {
    return isWordy(text);
  }
  if (text.startsWith('/')) return isWordy(text);
  return KEY_FILE.test(text) && /^[\w./\\~@-]+$/.test(text) && !/\.well-known/.test(text);
}

function isFile(text: string): boolean {
  try {
    return statSync(text).isFile();
  } catch {
    return false;
  }
}

/**
 * Base64 may begin with a slash. Names keep to one kind of character for a while, where chance changes it from
 * two characters to the next: in Base64 at 65 of 100 places, with a deviation of 7 in a secret of 43 characters.
 */
function isWordy(text: string): boolean {
  if (!/^[\p{L}\d\s./\\~@:${}_+-]+$/u.test(text)) return false;
  const kinds = [/[a-z]/, /[A-Z]/, /\d/];
  const kindOf = (character: string) => kinds.findIndex((kind) => kind.test(character));
  let pairs = 0;
  let changes = 0;
  for (let at = 1; at < text.length; at++) {
    const before = kindOf(text[at - 1] as string);
    const after = kindOf(text[at] as string);
    // What parts names says nothing of them.
    if (before === -1 || after === -1) continue;
    pairs++;
    // A capital at a name's start is no change.
    const isCapital = before === 1 && after === 0 && !/[a-zA-Z\d]/.test(text[at - 2] ?? '/');
    if (before !== after && !isCapital) changes++;
  }
  return changes <= pairs * 0.3;
}

function isUrl(text: string): boolean {
  const hasScheme =
    /^[a-z][a-z\d+.-]+:\/\/[^\s]+$/i.test(text) || /^(?:data|arn|urn):\S+$/i.test(text);
  return hasScheme || /^[\w-]+(?:\.[\w-]+)+(?::\d+)?\/\S*(?:\.well-known|jwks|\.json)/i.test(text);
}

function parses(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch {
    return false;
  }
}
