const key = 'koa-sse-hub.user';

/**
 * The name used last: in this tab, else in this browser, else a made-up one. The tab comes first so
 * that two windows side by side can be two people, and stay so when they are reloaded.
 */
export function loadUser(): string {
  try {
    return sessionStorage.getItem(key) ?? localStorage.getItem(key) ?? madeUpName();
  } catch {
    // Storage may be forbidden; a name is then good for this visit.
    return madeUpName();
  }
}

export function saveUser(user: string): void {
  try {
    sessionStorage.setItem(key, user);
    localStorage.setItem(key, user);
  } catch {
    // As above.
  }
}

const manners = ['amber', 'brisk', 'calm', 'early', 'quiet', 'silver', 'sunny', 'violet'];
const animals = ['crane', 'finch', 'heron', 'lynx', 'marten', 'otter', 'plover', 'wren'];

function madeUpName(): string {
  return `${pick(manners)}-${pick(animals)}`;
}

function pick(words: readonly string[]): string {
  return words[Math.floor(Math.random() * words.length)] ?? 'guest';
}
