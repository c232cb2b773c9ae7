/** The filter of the audit log, in the address and as the server takes it. */

/** What is looked for; absent means everything. */
export interface AuditSearch {
  readonly actor?: string;
  readonly action?: string;
  readonly target?: string;
  readonly text?: string;
  readonly from?: string;
  readonly to?: string;
}

/** Names of the filter's parts. */
export const KEYS = ['actor', 'action', 'target', 'text', 'from', 'to'] as const;

/** The filter of an address; what is no text is left out. */
export function auditSearch(search: Record<string, unknown>): AuditSearch {
  return Object.fromEntries(KEYS.flatMap((key) => (typeof search[key] === 'string' && search[key] !== '' ? [[key, search[key]]] : [])));
}

/** The filter as the server takes it: days become moments, the last one included. */
export function auditQuery(search: AuditSearch): Record<string, string> {
  const { from, to, ...rest } = search;
  const query: Record<string, string> = { ...rest };
  const begin = from ? new Date(`${from}T00:00:00`) : null;
  const end = to ? new Date(`${to}T00:00:00`) : null;
  if (begin && !Number.isNaN(begin.getTime())) query['from'] = begin.toISOString();
  if (end && !Number.isNaN(end.getTime())) {
    end.setDate(end.getDate() + 1);
    query['to'] = end.toISOString();
  }
  return query;
}
