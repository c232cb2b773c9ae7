/**
 * Filters of the list of runs: as the address has them, as the API takes them,
 * and whether a run fits. Pure.
 */
import type { RunView } from '../../api/types';

/** Names of filters, as in the address and in the API. */
export const FILTERS = [
  'text', 'status', 'conclusion', 'kind', 'project', 'workflow', 'branch', 'actor', 'event', 'label', 'runner',
] as const;

/** Name of a filter. */
export type FilterName = (typeof FILTERS)[number];

/** The filters that are set. */
export type RunFilter = Partial<Record<FilterName, string>>;

/** What the address says, without what is no filter. */
export function filterOf(search: Record<string, unknown>): RunFilter {
  const filter: RunFilter = {};
  for (const name of FILTERS) {
    const value = search[name];
    if (typeof value === 'string' && value !== '') filter[name] = value;
  }
  return filter;
}

/** How many filters are set beside the text. */
export function countOf(filter: RunFilter): number {
  return FILTERS.filter((name) => name !== 'text' && filter[name] !== undefined).length;
}

/**
 * Whether a run fits the filter; `null` if only the server can tell, because the
 * row does not say it (labels, runners, text).
 */
export function fits(run: RunView, filter: RunFilter): boolean | null {
  const pairs: [string | undefined, string | null | undefined][] = [
    [filter.status, run.status],
    [filter.conclusion, run.conclusion],
    [filter.kind, run.kind],
    [filter.project, run.project],
    [filter.workflow, run.name],
    [filter.branch, run.branch],
    [filter.actor, run.actor],
    [filter.event, run.event],
  ];
  if (pairs.some(([wanted, is]) => wanted !== undefined && wanted !== is)) return false;
  return filter.text !== undefined || filter.label !== undefined || filter.runner !== undefined ? null : true;
}
