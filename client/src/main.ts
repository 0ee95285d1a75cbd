import { startChat } from './chat.js';
import { startClock } from './clock.js';
import { startCounter } from './counter.js';
import { startLog } from './log.js';
import { startSnippets } from './snippets.js';
import { startTheme } from './theme.js';

startTheme();
startSnippets();
startLog();
// The order is the priority for connections, where they are scarce; see connection-slots.ts.
startClock();
startChat();
startCounter();
