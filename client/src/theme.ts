import { one } from './dom.js';

const key = 'koa-sse-hub.theme';
const choices = one<HTMLFieldSetElement>('#theme');

/** Light, dark, or as the system says: the choice is kept in this browser. */
export function startTheme(): void {
  const theme = load();
  apply(theme);
  for (const choice of choices.querySelectorAll('input')) {
    choice.checked = choice.value === theme;
    choice.addEventListener('change', () => {
      apply(choice.value);
      save(choice.value);
    });
  }
}

function apply(theme: string): void {
  document.documentElement.dataset.theme = theme;
}

function load(): string {
  try {
    return localStorage.getItem(key) ?? 'auto';
  } catch {
    // Storage may be forbidden; the choice is then good for this visit.
    return 'auto';
  }
}

function save(theme: string): void {
  try {
    localStorage.setItem(key, theme);
  } catch {
    // As above.
  }
}
