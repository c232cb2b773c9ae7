/** What the pages of the fleet ask the server, and how ranges of time are named in the address. */
import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { answer, api } from '../../api/client';
import type { Series } from '../../api/schema.gen';
import type { Line } from '../../ui/TimeChart';

/** Ranges of time that charts show, in seconds. */
export const RANGES = { '1h': 3_600, '6h': 21_600, '1d': 86_400, '7d': 604_800, '30d': 2_592_000 } as const;

/** Name of a range. */
export type Range = keyof typeof RANGES;

/** Whether a text of the address names a range. */
export function isRange(text: unknown): text is Range {
  return typeof text === 'string' && Object.hasOwn(RANGES, text);
}

const EVERY = 10_000;
const POINTS = 300;

/** The fleet at this moment. */
export const fleetQuery = queryOptions({
  queryKey: ['fleet'],
  queryFn: ({ signal }) => answer(api.GET('/api/v1/fleet', { signal })),
  refetchInterval: EVERY,
});

/** All runners. */
export const runnersQuery = queryOptions({
  queryKey: ['runners'],
  queryFn: async ({ signal }) => (await answer(api.GET('/api/v1/runners', { signal }))).items,
  refetchInterval: EVERY,
});

/** One runner. */
export function runnerQuery(id: number) {
  return queryOptions({
    queryKey: ['runners', id],
    queryFn: ({ signal }) => answer(api.GET('/api/v1/runners/{id}', { params: { path: { id } }, signal })),
    refetchInterval: EVERY,
  });
}

/** Names of everything that was measured. */
export const seriesNamesQuery = queryOptions({
  queryKey: ['series', 'names'],
  queryFn: async ({ signal }) => (await answer(api.GET('/api/v1/series/names', { signal }))).names,
});

/** One series over a range that ends now. */
export function seriesQuery(name: string, range: Range) {
  return queryOptions({
    queryKey: ['series', name, range],
    queryFn: ({ signal }) => {
      const from = Math.floor(Date.now() / 1000) - RANGES[range];
      return answer(api.GET('/api/v1/series', { params: { query: { name, from, points: POINTS } }, signal }));
    },
    refetchInterval: EVERY,
    placeholderData: keepPreviousData,
  });
}

/** Columns of a series as lines of a chart. A column that is not there was never measured. */
export function linesOf(series: Series | undefined, columns: readonly (readonly [column: string, label: string, color: string])[]): Line[] {
  return columns.map(([column, label, color]) => ({ label, color, values: series?.values[column] ?? [] }));
}

/** Fewest moments that a chart shows, however young the fleet is. */
const FEWEST = 30;

/**
 * Index of the first moment worth showing: a fleet that is younger than the range
 * begins with what was measured first, and not with an empty half of a chart.
 */
export function beginOf(series: Series | undefined): number {
  if (!series) return 0;
  const first = series.at.findIndex((_, index) => Object.values(series.values).some((values) => values[index] != null));
  return Math.max(0, Math.min(first < 0 ? 0 : first, series.at.length - FEWEST));
}
