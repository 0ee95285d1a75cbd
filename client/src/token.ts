import { byTestId, one } from './dom.js';

const key = 'koa-sse-hub.token';
const cookieName = 'mercureAuthorization';

const input = byTestId<HTMLInputElement>('hub-token');
const revealButton = one<HTMLButtonElement>('#hub-token-reveal');

/**
 * A field for the token of this window. It outlives a reload, but not the window: a secret does not
 * belong into storage that is kept.
 */
export function startToken(onChange: () => void): void {
  input.value = load();
  input.addEventListener('change', () => {
    save(input.value.trim());
    if (token() === '') removeCookie();
    onChange();
  });
  revealButton.addEventListener('click', () => {
    const isHidden = input.type === 'password';
    input.type = isHidden ? 'text' : 'password';
    revealButton.textContent = isHidden ? 'Hide' : 'Show';
    revealButton.setAttribute('aria-label', `${revealButton.textContent} the token`);
  });
}

/**
 * The token, or nothing. Escaping changes no character of a JWT, and whatever else is pasted cannot
 * get out of the header or cookie that carries it.
 */
export function token(): string {
  return encodeURIComponent(input.value.trim());
}

/**
 * Has the browser send the token, if there is one, with the event stream that is opened next.
 *
 * A script cannot set the headers of an `EventSource`. A token in its URL would be written down by
 * every proxy and log that the request passes; a cookie is not. It is for this site's own pages
 * (`SameSite=Strict`), and ends with the browser at the latest.
 *
 * All windows share the cookie, each with a token of its own, so a window calls this before each
 * connection that it makes.
 *
 * @returns false if the browser has not taken it.
 */
export function lendToken(): boolean {
  const value = token();
  if (value === '') {
    removeCookie();
    return true;
  }
  setCookie(value, '');
  return document.cookie.split('; ').includes(`${cookieName}=${value}`);
}

function removeCookie(): void {
  setCookie('', '; Max-Age=0');
}

function setCookie(value: string, lifetime: string): void {
  const secure = location.protocol === 'https:' ? '; Secure' : '';
  // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API is for secure origins only.
  document.cookie = `${cookieName}=${value}; Path=/; SameSite=Strict${secure}${lifetime}`;
}

function load(): string {
  try {
    return sessionStorage.getItem(key) ?? '';
  } catch {
    // Storage may be forbidden; the token is then good until a reload.
    return '';
  }
}

function save(value: string): void {
  try {
    if (value === '') sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, value);
  } catch {
    // As above.
  }
}
