/** All attacks, by name. Each gets a kit, and makes trouble until the kit says that it is over. */
import * as bodies from './bodies.js';
import * as chat from './chat.js';
import * as connections from './connections.js';
import * as garbage from './garbage.js';
import * as heads from './heads.js';
import * as pipelines from './pipelines.js';
import * as presence from './presence.js';
import * as publishing from './publishing.js';
import * as replays from './replays.js';
import * as slow from './slow.js';
import * as templates from './templates.js';
import * as tokens from './tokens.js';

export const attacks = {
  ...replays,
  ...templates,
  ...slow,
  ...pipelines,
  ...bodies,
  ...heads,
  ...chat,
  ...presence,
  ...tokens,
  ...connections,
  ...publishing,
  ...garbage,
};
