/**
 * Tells why a secret can be guessed though it is long: it stands in somebody's documentation, or is made of what
 * people write where a secret should be.
 *
 * @returns the end of a sentence that begins with the setting's name; undefined for a secret without such a fault.
 */
export function weaknessOf(secret: string): string | undefined {
  if (WELL_KNOWN.has(secret)) return 'is an example that everybody can read';
  if (new Set(secret).size < MIN_DISTINCT_CHARACTERS || isPeriodic(secret)) {
    return 'repeats the same few characters';
  }
  const letters = secret.toLowerCase().replace(/[^a-z\d]/g, '');
  if (
    /changeme|changethis|changeit|replaceme|replacethis/.test(letters) ||
    isMadeOfWords(letters)
  ) {
    return 'is a placeholder that everybody can guess';
  }
  return undefined;
}

/** Of 64 random hex digits, fewer than 6 distinct ones come up once in 10^29 secrets. */
const MIN_DISTINCT_CHARACTERS = 6;
const MAX_PERIOD = 16;
const MAX_PLACEHOLDER_CHARACTERS = 200;

/** Those that {@link isMadeOfWords} does not find: keys of specifications and of libraries' manuals. */
const WELL_KNOWN = new Set([
  // RFC 7515, appendix A.1; RFC 7517, appendix A.3; RFC 7520, section 3.5.
  'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow',
  'GawgguFyGrWKav7AX4VKUg',
  'hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg',
  // jwt.io, for HS512.
  'a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long',
  // The manuals of golang-jwt, jsonwebtoken, express-session, jose and PyJWT with FastAPI.
  'AllYourBase',
  'shhhhh',
  'keyboard cat',
  'cc7e0d44fd473002f1c42167459001140ec6389b7353f8088f4d9a95f2f596f2',
  '09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7',
]);

const WORDS =
  `a abc abcd abcdef abcdefgh abcdefghij abcdefghijklmnopqrstuvwxyz admin an and api app apps asdf
  asdfghjkl at auth bar base64 baz be bit bits byte bytes change changed char character characters chars default
  demo dev development do dont dummy enter example fixme foo for generate generated go good has have hello here
  hmac hs256 hs384 hs512 hub in insecure insert is it jwt key keys least less letmein local localhost long longer
  me mercure minimum more must my need needs never no not of only or own pass passphrase password phrase place
  placeholder please private prod production put qwerty qwertyuiop qwertz random real really replace root s3cr3t
  safe same sample secret secrets secure server set shared should signing so some something sse stage staging
  string strong super test testing tests text that the then this to todo token unsafe unsecure use used user valid
  value very with word world write x xxx you your zxcvbnm`.split(/\s+/);

/** Whether a text is nothing but words of placeholders, and some numbers, one after the other. */
function isMadeOfWords(letters: string): boolean {
  const digits = letters.replace(/0?123456789?0?/g, '').replace(/\D/g, '').length;
  // Numbers alone are no placeholder: somebody may have thrown dice.
  if (letters.length > MAX_PLACEHOLDER_CHARACTERS || digits > letters.replace(/\d/g, '').length) {
    return false;
  }
  const reached = [true];
  for (let end = 1; end <= letters.length; end++) {
    reached[end] =
      (reached[end - 1] === true && /\d/.test(letters[end - 1] as string)) ||
      WORDS.some((word) => {
        const start = end - word.length;
        return reached[start] === true && letters.startsWith(word, start);
      });
  }
  return letters !== '' && reached[letters.length] === true;
}

/** Whether a text is one short piece, written again and again. */
function isPeriodic(text: string): boolean {
  for (let length = 1; length <= MAX_PERIOD && length <= text.length / 2; length++) {
    if (text.startsWith(text.slice(length))) return true;
  }
  return false;
}
