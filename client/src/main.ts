import { startChat } from './chat.js';
import { startClock } from './clock.js';
import { startCounter } from './counter.js';
import { isServed } from './feeds.js';
import { startHub } from './hub.js';
import { startLog } from './log.js';
import { startSnippets } from './snippets.js';
import { startTheme } from './theme.js';

startTheme();
startSnippets();
startLog();
if (isServed('stream')) startClock();
if (isServed('chat')) startChat();
if (isServed('counter')) startCounter();
startHub();
