import { Audience } from '../sse/audience.js';
import { everySecond } from './every-second.js';
import type { Feed } from './feed.js';

/**
 * The clock: a greeting, then the named event `currentTime` with the time in UTC at every full second.
 * One timer and one encoding serve all listeners, and an audience without members has no timer.
 */
export function createClock(): Feed {
  const nextId = idSequence();
  const audience = new Audience();
  const timer = everySecond((now) => {
    audience.send({ id: nextId(), event: 'currentTime', data: now.toUTCString() });
    return audience.size > 0;
  });

  return {
    join(stream) {
      stream.send({ id: nextId(), data: 'hello from stream' });
      audience.add(stream);
      timer.start();
    },
  };
}

/** The server's local time as an unnamed event, at once and then at every full second. */
export function createLocalTime(): Feed {
  const audience = new Audience();
  const timer = everySecond((now) => {
    audience.send({ data: now.toLocaleTimeString() });
    return audience.size > 0;
  });

  return {
    join(stream) {
      stream.send({ data: new Date().toLocaleTimeString() });
      audience.add(stream);
      timer.start();
    },
  };
}

/** Ids `<epoch>-<sequence>`: the epoch is this start's time, so that no restart repeats an id. */
function idSequence(): () => string {
  const epoch = Date.now();
  let sequence = 0;
  return () => {
    sequence += 1;
    return `${epoch}-${sequence}`;
  };
}
