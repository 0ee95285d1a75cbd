import { byTestId, makeSvg, one } from './dom.js';
import { openPageStream } from './stream.js';

const raw = byTestId('clock');
const hours = one('#clock-hours');
const minutes = one('#clock-minutes');
const seconds = one('#clock-seconds');
const day = one('#clock-day');
const local = one('#clock-local');
const wave = one('#dial-wave');
const stillness = matchMedia('(prefers-reduced-motion: reduce)');

const dayFormat = new Intl.DateTimeFormat('en-GB', { dateStyle: 'full', timeZone: 'UTC' });
const localFormat = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const localZone = localFormat.resolvedOptions().timeZone;

export function startClock(): void {
  const markSecond = drawDial(one<SVGGElement>('#dial-marks'));
  openPageStream({
    name: 'clock',
    address: () => '/stream',
    types: ['message', 'currentTime'],
    onEvent: (event) => {
      if (event.type !== 'currentTime') return;
      raw.textContent = event.data;
      const time = new Date(event.data);
      if (Number.isNaN(time.getTime())) return;
      show(time);
      markSecond(time);
      sendWave();
    },
  });
}

function show(time: Date): void {
  hours.textContent = twoDigits(time.getUTCHours());
  minutes.textContent = twoDigits(time.getUTCMinutes());
  seconds.textContent = twoDigits(time.getUTCSeconds());
  day.textContent = dayFormat.format(time);
  local.textContent = `${localFormat.format(time)}, ${localZone.replaceAll('_', ' ')}`;
}

/** A ring that leaves the dial with each event, unless the user prefers a still page. */
function sendWave(): void {
  if (stillness.matches) return;
  wave.animate(
    [
      { opacity: 0.55, transform: 'scale(0.86)' },
      { opacity: 0, transform: 'scale(1.5)' },
    ],
    { duration: 1600, easing: 'cubic-bezier(0.1, 0.6, 0.4, 1)' },
  );
}

function twoDigits(value: number): string {
  return `${value}`.padStart(2, '0');
}

/**
 * Sixty marks, one for each of the last sixty seconds. A mark is lit by the event of its second and
 * fades with age, so a second without an event stays visible as a gap.
 */
function drawDial(group: SVGGElement): (time: Date) => void {
  const marks = Array.from({ length: 60 }, (_, second) =>
    makeSvg('line', {
      x1: 200,
      x2: 200,
      y1: second % 5 === 0 ? 12 : 18,
      y2: 36,
      transform: `rotate(${second * 6} 200 200)`,
    }),
  );
  group.replaceChildren(...marks);
  const litAt = new Array<number>(marks.length).fill(0);

  return (time) => {
    const now = Math.floor(time.getTime() / 1000);
    litAt[now % 60] = now;
    for (const [second, mark] of marks.entries()) {
      const age = (now - second) % 60;
      const isLit = litAt[second] === now - age;
      mark.setAttribute('class', isLit ? (age === 0 ? 'now' : 'lit') : '');
      mark.setAttribute('stroke-opacity', isLit ? `${1 - 0.75 * (age / 60)}` : '1');
    }
  };
}
