const $ = (selector) => document.querySelector(selector);

let source;

$('#start').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { steps } = event.target.elements;
  try {
    const answer = await fetch('jobs', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ steps: steps.valueAsNumber }),
    });
    if (!answer.ok) throw new Error(await answer.text());
    // All that the page has to know: so it goes on after a reload.
    location.hash = (await answer.json()).id;
    $('#problem').textContent = '';
  } catch (error) {
    $('#problem').textContent = error.message;
  }
});

addEventListener('hashchange', watch);
watch();

/** Shows the job that the address names. */
function watch() {
  source?.close();
  const id = location.hash.slice(1);
  $('#job').hidden = id === '';
  if (id === '') return;
  $('#progress').value = 0;
  $('#result').textContent = '';
  const show = (words) => {
    $('#state').textContent = words;
  };
  show('Waiting …');

  let isOver = false;
  source = new EventSource(`jobs/${encodeURIComponent(id)}`);
  source.addEventListener('progress', ({ data }) => {
    const { done, steps } = JSON.parse(data);
    $('#progress').value = done / steps;
    show(`${done} of ${steps} steps`);
  });
  source.addEventListener('result', ({ data }) => {
    $('#result').textContent = data;
  });
  for (const [type, words] of [
    ['end', 'Done.'],
    ['failure', 'The job has failed.'],
    ['cancelled', 'The job was cancelled: nobody watched it.'],
  ]) {
    source.addEventListener(type, () => {
      isOver = true;
      show(words);
    });
  }
  // The server ends the stream, and the browser comes back once. It is answered 204, and gives up for good.
  source.addEventListener('error', () => {
    if (isOver) return;
    if (source.readyState === EventSource.CLOSED) show('There is no such job.');
    else show('The server cannot be reached. Trying again …');
  });
}
