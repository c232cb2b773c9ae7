/** The list of runs as data: pages from the server, kept true by the feed. */
import { infiniteQueryOptions, queryOptions, useInfiniteQuery, useQueryClient, type InfiniteData } from '@tanstack/react-query';
import { useEffect, useRef } from 'react';
import { answer, api } from '../../api/client';
import { useFeed } from '../../live/feed';
import type { RunFilter } from './filter';
import { withoutRun, withRun, type Page } from './rows';

const PAGE = 100;
/** Pages that are read anew when changes were missed; more are loaded again when somebody scrolls there. */
const FRESH_PAGES = 5;
/** How long to wait for further changes before the server is asked. */
const ASK_AFTER_MS = 700;

/** The query of the list under a filter. */
export function runsQuery(filter: RunFilter) {
  return infiniteQueryOptions({
    queryKey: ['runs', 'list', filter],
    queryFn: async ({ pageParam, signal }): Promise<Page> =>
      (await answer(api.GET('/api/v1/runs', { params: { query: { ...(filter as object), limit: PAGE, ...(pageParam ? { cursor: pageParam } : {}) } }, signal }))) as Page,
    initialPageParam: null as string | null,
    getNextPageParam: (last: Page) => last.next_cursor ?? null,
    staleTime: 30_000,
  });
}

/** Values that runs can be filtered by. */
export const facetsQuery = queryOptions({
  queryKey: ['runs', 'facets'],
  queryFn: async ({ signal }) => answer(api.GET('/api/v1/runs/facets', { signal })),
  staleTime: 60_000,
});

/** The list under a filter, live. */
export function useRuns(filter: RunFilter) {
  const queries = useQueryClient();
  const options = runsQuery(filter);
  const result = useInfiniteQuery(options);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);

  const change = (act: (pages: Page[]) => Page[]): void => {
    queries.setQueryData<InfiniteData<Page, string | null>>(options.queryKey, (data) => {
      if (!data) return data;
      const pages = act(data.pages);
      return pages === data.pages ? data : { ...data, pages };
    });
  };
  const readAnew = (): void => {
    queries.setQueryData<InfiniteData<Page, string | null>>(options.queryKey, (data) =>
      data && { pages: data.pages.slice(0, FRESH_PAGES), pageParams: data.pageParams.slice(0, FRESH_PAGES) },
    );
    void queries.invalidateQueries({ queryKey: options.queryKey });
  };
  const readSoon = (): void => {
    clearTimeout(timer.current);
    timer.current = setTimeout(readAnew, ASK_AFTER_MS);
  };

  useFeed((event) => {
    switch (event.change) {
      case 'run':
        change((pages) => {
          const next = withRun(pages, event.run, filter);
          if (next.ask) readSoon();
          return next.pages;
        });
        break;
      case 'run_deleted':
        change((pages) => withoutRun(pages, event.id));
        break;
      case 'reset':
        readAnew();
        break;
      default:
    }
  });
  return result;
}
