/** Metrics as Prometheus reads them. */
export interface Scraped {
  /** Each family that has a type. */
  readonly types: ReadonlyMap<string, string>;
  readonly series: readonly Series[];
  /** The sum of the series with this name and these labels; undefined if there is none. */
  value(name: string, labels?: Readonly<Record<string, string>>): number | undefined;
}

export interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export async function scrape(url: string, token?: string): Promise<Scraped> {
  const headers: Record<string, string> = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(`${url}/metrics`, { headers });
  if (response.status !== 200) throw new Error(`/metrics is ${response.status}`);
  return parseMetrics(await response.text());
}

export function parseMetrics(text: string): Scraped {
  const types = new Map<string, string>();
  const series: Series[] = [];
  for (const line of text.split('\n')) {
    const [, family, type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? [];
    if (family && type) types.set(family, type);
    if (line === '' || line.startsWith('#')) continue;
    const [, name, list = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (name === undefined) throw new Error(`This is no series: ${line}`);
    const labels = [...list.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, of]) => [
      label,
      of,
    ]);
    series.push({ name, labels: Object.fromEntries(labels), value: Number(value) });
  }
  const value = (name: string, labels: Readonly<Record<string, string>> = {}) => {
    const found = series.filter(
      (one) =>
        one.name === name &&
        Object.entries(labels).every(([label, wanted]) => one.labels[label] === wanted),
    );
    return found.length === 0 ? undefined : found.reduce((sum, one) => sum + one.value, 0);
  };
  return { types, series, value };
}
