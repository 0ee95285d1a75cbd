import { byTestId, make, one } from './dom.js';
import { openPageStream } from './stream.js';

const number = byTestId('counter');
const beads = one('#counter-beads');

export function startCounter(): void {
  beads.replaceChildren(...Array.from({ length: 10 }, () => make('span', 'bead')));
  openPageStream({
    name: 'counter',
    address: () => '/counter',
    types: ['message'],
    onEvent: (event) => {
      number.textContent = event.data;
      // Ten beads are full at 10, and one of the next ten is at 11.
      const filled = Number(event.data) === 0 ? 0 : ((Number(event.data) - 1) % 10) + 1;
      for (const [index, bead] of [...beads.children].entries()) {
        bead.classList.toggle('filled', index < filled);
      }
    },
  });
}
