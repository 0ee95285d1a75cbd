const $ = (selector) => document.querySelector(selector);

/** How many notifications are shown; the bell counts all. */
const MAX_SHOWN = 100;

/** All that have come, oldest first: `{ id, from, text }`. */
let notifications = [];
/** How many of them have been read, counted from the oldest. */
let readCount = 0;
let source;
let isToBeShown = false;

start();

/** Shows the notifications of whoever is logged in, or the login. */
async function start() {
  try {
    const answer = await fetch('me');
    if (answer.ok) open(await answer.json());
    else showLogin();
  } catch {
    tell('The server cannot be reached.');
  }
}

function open({ user, topic }) {
  $('#user').textContent = user;
  $('#login').hidden = true;
  $('main').hidden = false;
  tell('');
  clear();
  // All that is held: what is unread follows from it. When it reconnects, the browser asks for what it missed.
  source = new EventSource(`updates?${new URLSearchParams({ topic, lastEventID: 'earliest' })}`);
  source.addEventListener('notification', ({ data, lastEventId }) => {
    notifications.push({ id: lastEventId, ...JSON.parse(data) });
    show();
  });
  source.addEventListener('read', ({ data: through }) => {
    const index = notifications.findIndex(({ id }) => id === through);
    readCount = Math.max(readCount, index + 1);
    show();
  });
  // Something was missed. All that is held follows.
  source.addEventListener('gap', clear);
  source.addEventListener('error', () => {
    // The login has ended: the hub ends the stream, and refuses the next one.
    if (source.readyState === EventSource.CLOSED) showLogin();
  });
}

function showLogin() {
  source?.close();
  clear();
  $('main').hidden = true;
  $('#login').hidden = false;
}

function clear() {
  notifications = [];
  readCount = 0;
  show();
}

/** Once for all that have come together, as they do when the page opens. */
function show() {
  if (!isToBeShown) setTimeout(showNow);
  isToBeShown = true;
}

function showNow() {
  isToBeShown = false;
  $('#unread').value = notifications.length - readCount;
  $('#list').replaceChildren(
    ...notifications
      .map(({ from, text }, index) => {
        const item = document.createElement('li');
        // Never as HTML: others have written it.
        item.textContent = `${from}: ${text}`;
        item.classList.toggle('unread', index >= readCount);
        return item;
      })
      .slice(-MAX_SHOWN)
      .reverse(),
  );
}

$('#login').addEventListener('submit', async (event) => {
  event.preventDefault();
  const answer = await post('login', Object.fromEntries(new FormData(event.target)));
  if (answer) open(await answer.json());
});

$('#logout').addEventListener('click', async () => {
  await post('logout', {});
  showLogin();
});

$('#send').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { to, text } = event.target.elements;
  if (await post('notifications', { to: to.value, text: text.value })) text.value = '';
});

// Up to what is shown here: one that comes at this moment stays unread.
$('#bell').addEventListener('click', () => {
  const newest = notifications.at(-1);
  if (newest) post('read', { through: newest.id });
});

/** The answer, or undefined if the request failed; the page says why. */
async function post(path, content) {
  try {
    const answer = await fetch(path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(content),
    });
    tell(answer.ok ? '' : await answer.text());
    if (answer.status === 401) showLogin();
    return answer.ok ? answer : undefined;
  } catch {
    tell('The server cannot be reached.');
  }
}

function tell(problem) {
  $('#problem').textContent = problem;
}
