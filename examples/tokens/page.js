const $ = (selector) => document.querySelector(selector);

/** The text of others, never HTML: nodes of text take it as it is. */
const text = $('#text').appendChild(document.createTextNode(''));
let source;

$('#ask').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { prompt } = event.target.elements;
  try {
    const answer = await fetch('generations', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ prompt: prompt.value }),
    });
    if (!answer.ok) throw new Error(await answer.text());
    // All that the page has to know: so a reload, or the address in another tab, shows the same.
    location.hash = (await answer.json()).id;
    $('#problem').textContent = '';
  } catch (error) {
    $('#problem').textContent = error.message;
  }
});

$('#stop').addEventListener('click', () => {
  fetch(url(), { method: 'DELETE' }).catch((error) => {
    $('#problem').textContent = error.message;
  });
});

addEventListener('hashchange', watch);
watch();

function url() {
  return `generations/${encodeURIComponent(location.hash.slice(1))}`;
}

/** Shows the generation that the address names, from its start. */
function watch() {
  source?.close();
  $('#generation').hidden = location.hash.length < 2;
  if ($('#generation').hidden) return;
  $('#prompt').textContent = '';
  text.data = '';
  source = new EventSource(url());
  source.addEventListener('open', () => show('waiting', 'Waiting for the model …'));
  source.addEventListener('prompt', ({ data }) => {
    $('#prompt').textContent = data;
  });
  source.addEventListener('message', ({ data }) => {
    text.appendData(data);
    show('writing', 'Writing …');
  });
  source.addEventListener('end', () => finish('done', 'Done.'));
  source.addEventListener('cancelled', () => finish('stopped', 'Stopped.'));
  source.addEventListener('failure', ({ data }) => finish('failed', data));
  // Something of it is no longer held. All that is held follows.
  source.addEventListener('gap', () => {
    text.data = '… ';
  });
  // The browser comes back by itself, with the last id that it has; unless the server has refused it.
  source.addEventListener('error', () => {
    if (source.readyState === EventSource.CLOSED) show('failed', 'There is no such generation.');
    else show('waiting', 'The server cannot be reached. Trying again …');
  });
}

function finish(state, words) {
  source.close();
  show(state, words);
}

function show(state, words) {
  $('#generation').dataset.state = state;
  $('#state').textContent = words;
  $('#stop').hidden = state !== 'waiting' && state !== 'writing';
}
