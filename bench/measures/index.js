import { fanOut } from './1-fan-out.js';
import { underLoad } from './2-under-load.js';
import { latency } from './3-latency.js';
import { connections } from './4-connections.js';
import { topics } from './5-topics.js';
import { stalled } from './6-stalled.js';
import { herd } from './7-herd.js';
import { publishing } from './8-publishing.js';
import { nodes } from './9-nodes.js';
import { followers } from './10-followers.js';
import { tokenStreams } from './11-token-streams.js';

/** In the order in which they run. */
export const measures = [
  fanOut,
  underLoad,
  latency,
  connections,
  topics,
  stalled,
  herd,
  publishing,
  nodes,
  followers,
  tokenStreams,
];
