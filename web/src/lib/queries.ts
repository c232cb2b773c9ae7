/**
 * The query client: what pages know of the server. Its results tell the
 * connection whether the server answers, and a server that came back makes
 * everything on the page fresh again.
 */
import { QueryCache, QueryClient } from '@tanstack/react-query';
import { ApiError, asApiError } from '../api/problem';
import { heard, lost } from '../live/connection';

const SOURCE = 'requests';
const PROBE_MS = 2_000;

/** Whether an error means that no server answered, or one that is not ready. */
function isOutage(error: unknown): boolean {
  const fault = asApiError(error);
  return fault.status === 0 || fault.status === 502 || fault.status === 504;
}

/** Makes the query client of the page. */
export function makeQueryClient(): QueryClient {
  let probing = false;
  const probe = (): void => {
    setTimeout(() => {
      fetch('/healthz', { cache: 'no-store' }).then(
        (response) => {
          if (!response.ok) return probe();
          probing = false;
          heard(SOURCE);
          void queries.invalidateQueries();
        },
        () => probe(),
      );
    }, PROBE_MS);
  };
  const queries = new QueryClient({
    queryCache: new QueryCache({
      onError: (error) => {
        if (!isOutage(error)) return;
        lost(SOURCE);
        if (!probing) {
          probing = true;
          probe();
        }
      },
      onSuccess: () => {
        if (!probing) heard(SOURCE);
      },
    }),
    defaultOptions: {
      queries: {
        // The page may be on the server's own machine: the browser's word for "offline" says nothing.
        networkMode: 'always',
        staleTime: 10_000,
        retry: (failures, error) => failures < 2 && error instanceof ApiError && (isOutage(error) || error.status === 503),
      },
      mutations: { networkMode: 'always', retry: false },
    },
  });
  return queries;
}
