// Each <output> is a gauge, and its id the name of the gauge's topic and event.
const gauges = document.querySelectorAll('output');
const state = document.getElementById('state');

const query = new URLSearchParams({ latest: 1 });
for (const { id } of gauges) query.append('topic', `gauges/${id}`);

const source = new EventSource(`updates?${query}`);
for (const gauge of gauges) {
  source.addEventListener(gauge.id, ({ data }) => {
    gauge.value = data;
    const meter = gauge.parentElement.querySelector('meter');
    if (meter) meter.value = Number(data);
  });
}
source.onopen = () => {
  state.textContent = 'live';
};
// The browser comes back by itself, unless it was answered with something else than a stream.
source.onerror = () => {
  state.textContent = source.readyState === EventSource.CLOSED ? 'refused' : 'reconnecting';
};
